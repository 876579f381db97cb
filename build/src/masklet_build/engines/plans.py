"""plans.json beside TensorRT plans: what they are, what they were made of, and the one machine that they are for."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from masklet.contract import CONTRACT_VERSION
from masklet_build.export.profiles import Limits, Profile, Range, Shapes
from masklet_build.manifest import file_sha256

FILE_NAME = "plans.json"
_WORDS = ("Name", "LayerType", "TacticName")  # of a layer in the inspector's JSON


class BuildError(Exception):
    """TensorRT is missing, or did not build; the message says what it said and what to do."""


class PlansError(Exception):
    """Plans are missing, damaged or made for something else; the message says how to build them again."""


@dataclass(frozen=True)
class Machine:
    """What a plan is bound to, by TensorRT itself: it runs on the version and the GPU model that built it.

    tensorrt             its version, such as "11.0.0.114"
    gpu                  name of the GPU
    compute_capability   such as "9.0"
    driver               CUDA version that the driver supports, such as "13.0"; told, not compared: plans survive a new driver
    """

    tensorrt: str
    gpu: str
    compute_capability: str
    driver: str

    def differences(self, other: Machine) -> list[str]:
        """What forbids plans of this machine to run on `other`, in words."""
        names = {"tensorrt": "TensorRT", "gpu": "the GPU", "compute_capability": "compute capability"}
        pairs = {words: (getattr(self, field), getattr(other, field)) for field, words in names.items()}
        return [f"{words} was {mine}, and here it is {theirs}" for words, (mine, theirs) in pairs.items() if mine != theirs]


@dataclass(frozen=True)
class Settings:
    """What the builder was told besides the network and its profiles.

    level           builder optimisation level, 0 to 5
    workspace_gib   GiB of scratch memory that a layer may take at most
    tf32            whether float32 matrix products may round their factors to TF32
    """

    level: int = 3
    workspace_gib: float = 8.0
    tf32: bool = False


@dataclass(frozen=True)
class Layers:
    """What TensorRT made of a network, counted in its inspector's list of layers (all profiles).

    total      layers
    attention  fused attention kernels
    casts      layers that change the type, alone or among other work
    reformats  copies that change the layout
    """

    total: int
    attention: int
    casts: int
    reformats: int

    @classmethod
    def counted(cls, text: str) -> Layers:
        """Counts `EngineInspector.get_engine_information(JSON)` of an engine built with DETAILED verbosity.

        TensorRT documents no list of layer types, so kinds are told by words in name, type and tactic: fused attention by "mha" (`_gemm_mha_v2`,
        `fmha`, ...). A layer is a JSON object, or, with less verbosity, a name alone. Raises ValueError for other text.
        """
        layers = json.loads(text)["Layers"]
        words = [(layer if isinstance(layer, str) else " ".join(str(layer.get(key, "")) for key in _WORDS)).lower() for layer in layers]
        return cls(
            total=len(words),
            attention=sum("mha" in said for said in words),
            casts=sum("cast" in said.replace("broadcast", "") for said in words),
            reformats=sum("reformat" in said for said in words),
        )


@dataclass(frozen=True)
class Plan:
    """One engine.

    sha256          of <engine>.plan
    onnx            file name -> sha256 of what it was built from: the graph, and its weights where they lie in a second file
    profiles        in the order of their TensorRT indices
    device_memory   bytes of working memory that a call of each profile takes at most
    warnings        what TensorRT warned of while building, each line once
    """

    sha256: str
    onnx: Mapping[str, str]
    profiles: tuple[Profile, ...]
    build_seconds: float
    device_memory: tuple[int, ...]
    layers: Layers
    warnings: tuple[str, ...]

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Plan:
        """A plan from what `dataclasses.asdict` made of it."""
        table = tuple(_profile(item) for item in value["profiles"])
        rest = {"device_memory": tuple(value["device_memory"]), "layers": Layers(**value["layers"]), "warnings": tuple(value["warnings"])}
        return cls(**{**value, "profiles": table, **rest})


@dataclass(frozen=True)
class Plans:
    """Contents of plans.json. The files are <engine>.plan, and for people <engine>.log and <engine>.layers.json.

    variant, checkpoint, contract_version, precision, attention   as in the manifest of the ONNX files
    limits      what calls the profiles were made for
    created     UTC, ISO 8601
    """

    variant: str
    checkpoint: Mapping[str, str]
    contract_version: int
    precision: str
    attention: str
    limits: Limits
    settings: Settings
    machine: Machine
    engines: Mapping[str, Plan]
    created: str

    def write(self, folder: Path) -> None:
        """Writes plans.json into `folder`."""
        (folder / FILE_NAME).write_text(json.dumps(asdict(self), indent=1) + "\n", encoding="utf-8")

    @classmethod
    def read(cls, folder: Path) -> Plans:
        """Reads plans.json of `folder`. Raises PlansError."""
        try:
            value = json.loads((folder / FILE_NAME).read_text(encoding="utf-8"))
            engines = {name: Plan.from_json(item) for name, item in value["engines"].items()}
            parts = {"limits": Limits(**value["limits"]), "settings": Settings(**value["settings"]), "machine": Machine(**value["machine"])}
            return cls(**{**value, **parts, "engines": engines})
        except FileNotFoundError as error:
            raise PlansError(f"{folder} has no {FILE_NAME}, so it holds no plans. Build them with: masklet-build engine") from error
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise PlansError(f"{folder / FILE_NAME} cannot be read ({type(error).__name__}: {error}). {_again('VARIANT')}") from error

    def check_files(self, folder: Path) -> None:
        """Checks that the plans belong to this contract and are the files that were built: for assembly, which has no GPU. Raises PlansError."""
        if self.contract_version != CONTRACT_VERSION:
            raise PlansError(
                f"{folder} holds plans for contract {self.contract_version}; this masklet-build has {CONTRACT_VERSION}. "
                f"Export again. {_again(self.variant)}"
            )
        for engine, plan in self.engines.items():
            path = folder / f"{engine}.plan"
            if not path.is_file() or file_sha256(path) != plan.sha256:
                raise PlansError(f"{path} is missing or not the file that was built. {_again(self.variant)}")

    def check(self, folder: Path, machine: Machine) -> None:
        """As `check_files`, and that the plans were made for `machine`. Raises PlansError."""
        differences = self.machine.differences(machine)
        if differences:
            raise PlansError(
                f"{folder} holds plans that were built for something else: {'; '.join(differences)}. TensorRT plans run where they were built, and "
                f"nowhere else. {_again(self.variant)}"
            )
        self.check_files(folder)


def _again(variant: str) -> str:
    return f"Build again, on the machine that serves: masklet-build engine {variant} --onnx DIR --out DIR"


def _profile(value: Mapping[str, Any]) -> Profile:
    sizes = {symbol: Range(*sizes) for symbol, sizes in value["sizes"].items()}
    inputs = {name: Shapes(*(tuple(shape) for shape in shapes)) for name, shapes in value["inputs"].items()}
    return Profile(value["name"], sizes, inputs)

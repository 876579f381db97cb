"""plans.json beside plans: what they are, what they were made of, and the machines that they are for."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from masklet.contract import CONTRACT_VERSION
from masklet_build.embedded.shapes import Shapes
from masklet_build.engines.kernels import Kernels
from masklet_build.export.profiles import Limits, Profile, Range
from masklet_build.manifest import file_sha256

FILE_NAME = "plans.json"
TENSORRT, RTX = "tensorrt", "tensorrt-rtx"
TITLES = {TENSORRT: "TensorRT", RTX: "TensorRT for RTX"}
_RUN = {
    TENSORRT: "Plans of TensorRT run where they were built, and nowhere else.",
    RTX: "Plans of TensorRT for RTX run with the version that built them, on GPUs that they were built for (--sm).",
}


class BuildError(Exception):
    """A compiler is missing, or did not build; the message says what it said and what to do."""


class PlansError(Exception):
    """Plans are missing, damaged or made for something else; the message says how to build them again."""


@dataclass(frozen=True)
class Machine:
    """What a plan is bound to, by its compiler. TensorRT: its version and the GPU model that built it. TensorRT for RTX: its version and GPUs of the
    compute capabilities that it was built for.

    compiler   "tensorrt" or "tensorrt-rtx"
    version    its version, such as "11.0.0.114"
    gpu        name of the GPU that built, or that is here; empty where none took part
    targets    compute capabilities such as "8.9": of TensorRT, and of a machine that is to run plans, the one of the GPU
    driver     CUDA version that the driver supports, such as "13.0", or empty; told, not compared: plans survive a new driver
    """

    compiler: str
    version: str
    gpu: str
    targets: tuple[str, ...]
    driver: str

    @property
    def title(self) -> str:
        """The compiler with its version, for people."""
        return f"{TITLES[self.compiler]} {self.version}"

    def differences(self, other: Machine) -> list[str]:
        """What forbids plans of this machine to run on `other`, in words."""
        if self.compiler != other.compiler:
            return [f"the compiler was {TITLES[self.compiler]}, and here it is {TITLES[other.compiler]}"]
        pairs = {TITLES[self.compiler]: (self.version, other.version)}
        if self.compiler == TENSORRT:
            pairs |= {"the GPU": (self.gpu, other.gpu), "compute capability": (self.targets[0], other.targets[0])}
        elif not set(other.targets) <= set(self.targets):
            pairs["compute capability"] = (" or ".join(self.targets), ", ".join(other.targets))
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
class Plan:
    """One engine.

    sha256          of <engine>.plan
    onnx            file name -> sha256 of what it was built from: the graph, and its weights where they lie in a second file
    profiles        in the order of their indices
    memory          bytes of activation memory that a call of each profile takes at most; empty where that is not known
    softmax_nodes   of the graph: so many attention kernels has a profile in which all attention is fused
    kernels         of each profile; empty where they are not known
    warnings        what the compiler warned of, each line once
    """

    sha256: str
    onnx: Mapping[str, str]
    profiles: tuple[Profile, ...]
    build_seconds: float
    memory: tuple[int, ...]
    softmax_nodes: int
    kernels: tuple[Kernels, ...]
    warnings: tuple[str, ...]

    @property
    def fused(self) -> str:
        """How much attention is fused in the profile with the least of it, such as "4 of 4"; "none there" where the graph has no attention."""
        if not self.softmax_nodes:
            return "none there"
        return f"{min(one.attention for one in self.kernels) if self.kernels else '?'} of {self.softmax_nodes}"

    @property
    def unfused(self) -> list[str]:
        """A sentence for each profile in which some attention is not fused."""
        return [
            f"in profile {profile.name!r} {kernels.attention} of {self.softmax_nodes} attentions are fused"
            for profile, kernels in zip(self.profiles, self.kernels, strict=False)  # none where kernels are not known
            if kernels.attention < self.softmax_nodes
        ]

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Plan:
        """A plan from what `dataclasses.asdict` made of it."""
        table = tuple(_profile(item) for item in value["profiles"])
        kernels = tuple(Kernels(**item) for item in value["kernels"])
        return cls(**{**value, "profiles": table, "kernels": kernels, **{key: tuple(value[key]) for key in ("memory", "warnings")}})


@dataclass(frozen=True)
class Plans:
    """Contents of plans.json. The files are <engine>.plan, and for people <engine>.log and, of TensorRT, <engine>.layers.json.

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
        """Writes plans.json into `folder`, whole or not at all: what is finished would else be built again."""
        draft = folder / f".{FILE_NAME}"
        draft.write_text(json.dumps(asdict(self), indent=1) + "\n", encoding="utf-8")
        draft.replace(folder / FILE_NAME)

    @classmethod
    def read(cls, folder: Path) -> Plans:
        """Reads plans.json of `folder`. Raises PlansError."""
        try:
            value = json.loads((folder / FILE_NAME).read_text(encoding="utf-8"))
            engines = {name: Plan.from_json(item) for name, item in value["engines"].items()}
            parts = {"limits": Limits(**value["limits"]), "settings": Settings(**value["settings"]), "machine": _machine(value["machine"])}
            return cls(**{**value, **parts, "engines": engines})
        except (FileNotFoundError, NotADirectoryError) as error:
            raise PlansError(f"{folder} has no {FILE_NAME}, so it holds no plans. Build them with: masklet-build engine") from error
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise PlansError(
                f"{folder / FILE_NAME} cannot be read: it is damaged, or another version of masklet-build wrote it "
                f"({type(error).__name__}: {error}). Build again: masklet-build engine --help"
            ) from error

    def check_files(self, folder: Path) -> None:
        """Checks that the plans belong to this contract and are the files that were built: for assembly, which has no GPU. Raises PlansError."""
        if self.contract_version != CONTRACT_VERSION:
            raise PlansError(
                f"{folder} holds plans for contract {self.contract_version}; this masklet-build has {CONTRACT_VERSION}. Export again. {self._again()}"
            )
        for engine, plan in self.engines.items():
            path = folder / f"{engine}.plan"
            if not path.is_file() or file_sha256(path) != plan.sha256:
                raise PlansError(f"{path} is missing or not the file that was built. {self._again()}")

    def check(self, folder: Path, machine: Machine) -> None:
        """As `check_files`, and that the plans were made for `machine`. Raises PlansError."""
        differences = self.machine.differences(machine)
        if differences:
            raise PlansError(
                f"{folder} holds plans that were built for something else: {'; '.join(differences)}. {_RUN[self.machine.compiler]} {self._again()}"
            )
        self.check_files(folder)

    def _again(self) -> str:
        place, option = (", on the machine that serves", "") if self.machine.compiler == TENSORRT else ("", "--rtx ")
        return f"Build again{place}: masklet-build engine {self.variant} --onnx DIR {option}--out DIR"


def _machine(value: Mapping[str, Any]) -> Machine:
    return Machine(**{**value, "targets": tuple(value["targets"])})


def _profile(value: Mapping[str, Any]) -> Profile:
    sizes = {symbol: Range(*sizes) for symbol, sizes in value["sizes"].items()}
    inputs = {name: Shapes(*(tuple(shape) for shape in shapes)) for name, shapes in value["inputs"].items()}
    return Profile(value["name"], sizes, inputs)

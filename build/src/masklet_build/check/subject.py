"""What is tested: TensorRT plans, or ONNX engines on this CPU; alone, or in a repository."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from masklet.contract import engines
from masklet.families import Variant
from masklet_build.embedded.runners import OnnxRuntimeRunner
from masklet_build.engines.plans import FILE_NAME as PLANS
from masklet_build.engines.plans import RTX, Plans
from masklet_build.export.bars import coarsest
from masklet_build.export.profiles import Limits, Profile, profiles
from masklet_build.in_process import Stages
from masklet_build.manifest import FILE_NAME as MANIFEST
from masklet_build.manifest import Manifest, file_sha256
from masklet_build.models import variants
from masklet_build.quality.provenance import machine_facts, versions

Run = Callable[[Mapping[str, np.ndarray]], Mapping[str, np.ndarray]]  # of one engine


class SubjectError(Exception):
    """There is nothing to test; the message says what is missing and what to do."""


@dataclass(frozen=True)
class Subject:
    """Engines of one variant, ready to be asked.

    home       where the report belongs, and fixtures may lie: the folder of the engines, or memory_bank of a repository
    precision, attention   as in the manifest or plans.json
    held_to    whose bar they are held to: the coarsest of both, and of TF32 where the builder was allowed that
    table      the profiles that calls are made for
    runtime    what computes, in words
    further    the same engines with other kernels, which a server runs as well, by what they are
    """

    home: Path
    variant: Variant
    checkpoint_sha256: str
    precision: str
    attention: str
    held_to: str
    table: Mapping[str, Sequence[Profile]]
    stages: Stages
    runtime: str
    machine: Mapping[str, object]
    files: Mapping[str, str]
    objects_per_call: int
    further: Mapping[str, Stages] = field(default_factory=dict)

    @property
    def told(self) -> str:
        """One line."""
        types = self.precision if self.attention == self.precision else f"{self.precision}, attention {self.attention}"
        return f"{self.variant.name} in {types}: {self.runtime}"


class OnnxStages:
    """ONNX engines on the CPU (see masklet_bank.stages.Stages): what can be tested without a GPU."""

    def __init__(self, files: Mapping[str, Path]) -> None:
        """`files` by engine. Raises ModuleNotFoundError without ONNX Runtime, and what it raises for a file that it cannot load."""
        self._run: dict[str, Run] = {engine: _alone(OnnxRuntimeRunner(file, "fp32", 0, 1, "cpu")) for engine, file in files.items()}

    def call(self, engine: str, inputs: Mapping[str, np.ndarray]) -> Mapping[str, np.ndarray]:
        """Runs one engine."""
        return self._run[engine](inputs)


def _rounding(files: Mapping[str, Path]) -> Stages:
    """The same for engines of a reduced type, which ONNX Runtime alone would not round on a CPU. Needs torch."""
    from masklet_build.export.precision.check import RoundingStages

    return RoundingStages(files)


def _alone(runner: OnnxRuntimeRunner) -> Run:
    return lambda inputs: runner([inputs])[0]


@contextmanager
def opened(path: Path) -> Iterator[Subject]:
    """Opens a folder of plans (`masklet-build engine`), of ONNX engines (`masklet-build export`), or a repository (`masklet-build assemble`).

    Raises SubjectError, PlansError, DeviceError, ImportError, and what a runtime raises.
    """
    home = path / "memory_bank" if (path / "memory_bank").is_dir() else path
    if (home / PLANS).is_file():
        with TemporaryDirectory(prefix="masklet-selftest-") as scratch:
            yield _of_plans(path, home, Path(scratch))
    elif (home / MANIFEST).is_file():
        yield _of_onnx(path, home)
    else:
        raise SubjectError(
            f"{path} has neither {PLANS} nor {MANIFEST}, so it holds no engines. Name what `masklet-build engine`, `export` or `assemble` wrote."
        )


def engine_files(path: Path, variant: Variant) -> dict[str, Path]:
    """The file of each engine in a folder or a repository. Raises SubjectError that names what is missing."""
    found = {}
    for engine in (model.name for model in engines(variant)):
        places = (
            *(path / f"{engine}{kind}" for kind in (".plan", ".onnx")),
            *(path / "memory_bank" / "1" / "engines" / f"{engine}{kind}" for kind in (".plan", ".onnx")),
            *(path / engine / "1" / name for name in ("model.plan", "engine.plan", "engine.onnx", "model.onnx")),
        )
        file = next((place for place in places if place.is_file()), None)
        if file is None:
            raise SubjectError(f"{path} has no engine {engine}. Export, build or assemble again.")
        found[engine] = file
    return found


def _of_onnx(path: Path, home: Path) -> Subject:
    manifest = Manifest.read(home)
    variant = variants.variant(manifest.variant)
    files, limits = engine_files(path, variant), Limits.of(variant)
    reduced = {manifest.precision, manifest.attention} != {"fp32"}
    return Subject(
        home=home,
        variant=variant,
        checkpoint_sha256=manifest.checkpoint["sha256"],
        precision=manifest.precision,
        attention=manifest.attention,
        held_to=coarsest([manifest.precision, manifest.attention]),
        table=profiles(variant, limits),
        stages=_rounding(files) if reduced else OnnxStages(files),
        runtime=f"ONNX Runtime {versions(['onnxruntime'])['onnxruntime']} on this CPU{', rounding as the graphs say' if reduced else ''}",
        machine=machine_facts(),
        files={engine: file_sha256(file) for engine, file in files.items()},
        objects_per_call=limits.objects,
    )


def _of_plans(path: Path, home: Path, scratch: Path) -> Subject:
    """`scratch`: an empty folder, in which plans of a repository get the names that they were built under."""
    from masklet_build.engines.runtime import PlanStages

    plans = Plans.read(home)
    variant = variants.variant(plans.variant)
    for engine, file in engine_files(path, variant).items():
        (scratch / f"{engine}.plan").symlink_to(file.absolute())
    (scratch / PLANS).symlink_to((home / PLANS).absolute())
    tf32 = ["tf32"] if plans.settings.tf32 and "fp32" in (plans.precision, plans.attention) else []
    stages = PlanStages(scratch)
    machine = stages.machine
    return Subject(
        home=home,
        variant=variant,
        checkpoint_sha256=plans.checkpoint["sha256"],
        precision=plans.precision,
        attention=plans.attention,
        held_to=coarsest([plans.precision, plans.attention, *tf32]),
        table={engine: plan.profiles for engine, plan in plans.engines.items()},
        stages=stages,
        further={"kernels for all sizes": PlanStages(scratch, general=True)} if machine.compiler == RTX else {},
        runtime=f"{machine.title} on {machine.gpu} (compute capability {', '.join(machine.targets)}, CUDA {machine.driver})",
        machine={**machine_facts(), **asdict(machine)},
        files={engine: plan.sha256 for engine, plan in plans.engines.items()},
        objects_per_call=plans.limits.objects,
    )

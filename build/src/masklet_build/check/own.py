"""masklet's own nano as TensorRT plans of this machine: what is tested where there are no engines yet."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from masklet.families import NANO
from masklet_build import nano
from masklet_build.check.subject import SubjectError
from masklet_build.engines.compilers import compiler_of
from masklet_build.engines.folder import build_plans
from masklet_build.engines.plans import TENSORRT, Settings
from masklet_build.export.precision.choice import Choice
from masklet_build.export.profiles import Limits
from masklet_build.manifest import Manifest, file_sha256


def own_plans(work: Path, precision: str, attention: str | None, progress: Callable[[str], None]) -> Path:
    """Exports nano to `work`/PRECISION-onnx and builds `work`/PRECISION-plans, where they are not there yet; returns the latter.

    attention   None: as `masklet-build export` chooses. Needs torch for the export.
    Raises SubjectError, BuildError, OutputExists, DeviceError, ModuleNotFoundError.
    """
    compiler = compiler_of(TENSORRT)
    compiler.machine()  # without a GPU nothing is exported
    choice = Choice.of(NANO, precision, attention, "tensorrt")
    name = choice.precision if choice.attention == choice.precision else f"{choice.precision}-{choice.attention}"
    onnx, plans = work / f"{name}-onnx", work / f"{name}-plans"
    if not _fits(onnx, choice):
        from masklet_build.export.onnx_export import ExportError, export

        try:
            export(NANO, nano.CHECKPOINT, onnx, choice=choice, force=True, progress=progress)
        except ExportError as error:
            raise SubjectError(f"nano cannot be exported in {choice}: {error}") from error
    build_plans(NANO, onnx, plans, compiler, limits=Limits.of(NANO), settings=Settings(), force=True, progress=progress)
    return plans


def _fits(onnx: Path, choice: Choice) -> bool:
    """Whether `onnx` is an export of the package's weights in these types, whole."""
    with suppress(OSError, TypeError, ValueError):
        manifest = Manifest.read(onnx)
        return (
            (manifest.precision, manifest.attention, manifest.purpose) == (choice.precision, choice.attention, choice.purpose)
            and manifest.checkpoint["sha256"] == Manifest.read(nano.ENGINES).checkpoint["sha256"]
            and all((onnx / name).is_file() and file_sha256(onnx / name) == expected for name, expected in manifest.files.items())
        )
    return False

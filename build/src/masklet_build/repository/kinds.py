"""What a folder of engines holds, and whether a runtime takes it; if not, the command that makes what it takes."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from masklet.families import Variant
from masklet_build.engines.plans import FILE_NAME as PLANS
from masklet_build.engines.plans import RTX, TENSORRT, Plans
from masklet_build.manifest import FILE_NAME as MANIFEST
from masklet_build.manifest import Manifest, ManifestError
from masklet_build.repository.configs import AssembleError
from masklet_build.repository.tensorrt import read_plans


class _Kind(NamedTuple):
    """What it is called; the command that makes it, of {variant} and {onnx}; what runs it, where that is no default of assemble."""

    title: str
    make: str
    option: str = ""


_ONNX, _PROGRAMS = "onnx", "torch"
_KINDS = {
    _ONNX: _Kind("ONNX engines", "masklet-build export {variant} --for cpu --out DIR"),
    _PROGRAMS: _Kind("PyTorch programs", "masklet-build export {variant} --for torch --out DIR", "--runtime torch"),
    TENSORRT: _Kind("plans of TensorRT", "masklet-build engine {variant} --onnx {onnx} --out DIR, on the GPU that will serve", "--target tensorrt"),
    RTX: _Kind("plans of TensorRT for RTX", "masklet-build engine {variant} --onnx {onnx} --rtx --out DIR", f"--runtime {RTX}"),
}
_TAKES = {kind: kind for kind in (_PROGRAMS, TENSORRT, RTX)}  # runtime -> kind; the others take ONNX engines


def read(engines: Path, variant: Variant, runtime: str) -> Manifest | Plans:
    """The record of the engines in a folder, whole, of this variant, and such as the runtime takes. Raises AssembleError."""
    wanted = _TAKES.get(runtime, _ONNX)
    if (engines / PLANS).is_file() or (wanted in (TENSORRT, RTX) and not (engines / MANIFEST).is_file()):
        plans = read_plans(engines, variant)
        _check(engines, plans.machine.compiler, wanted, runtime, variant)
        return plans
    try:
        manifest = Manifest.checked(engines, variant.name)
    except ManifestError as error:
        raise AssembleError(str(error)) from error
    _check(engines, _PROGRAMS if manifest.purpose == "torch" else _ONNX, wanted, runtime, variant)
    if wanted == _ONNX and {manifest.precision, manifest.attention} != {"fp32"}:
        raise AssembleError(
            f"{engines} holds engines in {manifest.precision} (attention {manifest.attention}), which are for TensorRT: make plans of them with "
            "`masklet-build engine`. For other targets export in fp32; with --precision bf16 OpenVINO computes those in bf16."
        )
    return manifest


def _check(engines: Path, held: str, wanted: str, runtime: str, variant: Variant) -> None:
    """Raises AssembleError where the engines are of a kind that the runtime does not run."""
    if held == wanted:
        return
    onnx = engines if held == _ONNX else "ONNX"
    make = _KINDS[wanted].make.format(variant=variant.name, onnx=onnx)
    if onnx == "ONNX" and wanted in (TENSORRT, RTX):
        make += f" (ONNX: what masklet-build export {variant.name} --for tensorrt wrote)"
    option = _KINDS[held].option
    if runtime == TENSORRT and option:
        option += " in place of --target tensorrt"
    instead = f", or use {option}" if option else ""
    raise AssembleError(
        f"{engines} holds {_KINDS[held].title}, which {runtime} does not run. Make others: {make}; then name them with --engines{instead}."
    )

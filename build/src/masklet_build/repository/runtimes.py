"""What runs engines inside the python backend: which runtime takes what, and the files that it needs beside a model."""

from __future__ import annotations

import shutil
from pathlib import Path

from masklet_build.engines.plans import Plans
from masklet_build.manifest import WEIGHTS, Manifest
from masklet_build.repository.configs import AssembleError

EMBEDDED = Path(__file__).parents[1] / "embedded"

RUNTIMES = ("openvino", "onnxruntime", "torch")
PRECISIONS = ("fp32", "bf16")  # that OpenVINO computes an engine in
DEVICES = ("auto", "cpu", "cuda")

_MODULES = ("__init__", "cores", "engine", "runners", "shares")
_TORCH_MODULES = ("torch_runner", "torch_arrays", "cuda_graphs")


def checked_precision(engines: Path, made: Manifest | Plans, runtime: str, wanted: str | None) -> str:
    """The precision of a repository, once engines, runtime and precision are known to go together. `wanted`: None for what the engines are.

    Raises AssembleError.
    """
    if isinstance(made, Plans):
        if wanted not in (None, made.precision):
            raise AssembleError(f"{engines} holds plans in {made.precision}, as they were exported. Leave out --precision.")
        return made.precision
    _check_purpose(engines, made, runtime)
    if runtime == "torch":
        if wanted not in (None, made.precision):
            raise AssembleError(
                f"{engines} holds programs that compute in {made.precision}. Leave out --precision, or export with --precision {wanted}."
            )
        return made.precision
    if wanted == "fp16":
        raise AssembleError("fp16 is decided at export, of PyTorch programs and of plans. Leave out --precision, or use --runtime torch.")
    if wanted == "bf16" and runtime != "openvino":
        raise AssembleError("bf16 needs OpenVINO. Leave out --precision, or use --target embedded --runtime openvino.")
    return wanted or "fp32"


def _check_purpose(engines: Path, manifest: Manifest, runtime: str) -> None:
    """Programs are for torch, and for torch are programs. Typed ONNX engines are for neither."""
    is_program = manifest.purpose == "torch"
    if (runtime == "torch") != is_program:
        raise AssembleError(
            f"{engines} holds {'PyTorch programs' if is_program else 'ONNX engines'}, which {runtime} does not run. Make others: masklet-build "
            f"export {manifest.variant} --for {'torch' if runtime == 'torch' else 'cpu'} --out DIR; then name them with --engines"
            f"{', or use --runtime torch' if is_program else ''}."
        )
    if not is_program and {manifest.precision, manifest.attention} != {"fp32"}:
        raise AssembleError(
            f"{engines} holds engines in {manifest.precision} (attention {manifest.attention}), which are for TensorRT: make plans of them with "
            "`masklet-build engine`. For other targets export in fp32; with --precision bf16 OpenVINO computes those in bf16."
        )


def vendor(version: Path, runtime: str) -> None:
    """Lays what runs engines beside a model, under the name by which it is imported."""
    modules = (*_MODULES, *(_TORCH_MODULES if runtime == "torch" else ()))
    for name in ("__init__.py", *(f"embedded/{module}.py" for module in modules)):
        copy(EMBEDDED.parent / name, version / "masklet_build" / name)


def copy_engine(engines: Path, name: str, folder: Path, new_name: str) -> None:
    """The files of an engine under a new name; weights in a file of their own keep theirs, by which the graph refers to them."""
    for file in engines.glob(f"{name}.*"):
        copy(file, folder / (file.name if file.name.endswith(WEIGHTS) else file.name.replace(name, new_name, 1)))


def copy(file: Path, to: Path) -> None:
    """Copies a file, and makes its folder."""
    to.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(file, to)

"""What runs engines inside the python backend: which runtime takes what, and the files that it needs beside a model."""

from __future__ import annotations

import shutil
from pathlib import Path

from masklet_build.engines.plans import FILE_NAME as RECORD
from masklet_build.engines.plans import RTX, Plans
from masklet_build.manifest import WEIGHTS, Manifest
from masklet_build.repository.configs import AssembleError

EMBEDDED = Path(__file__).parents[1] / "embedded"

RUNTIMES = ("openvino", "onnxruntime", "torch", RTX)
PRECISIONS = ("fp32", "bf16")  # that OpenVINO computes an engine in
DEVICES = ("auto", "cpu", "cuda")
ON_DEVICES = ("torch", RTX)  # runtimes with a choice of devices

_MODULES = ("__init__", "cores", "engine", "logs", "runners", "shares")
_FURTHER = {
    "torch": ("torch_runner", "torch_arrays", "cuda_graphs"),
    RTX: ("gpu", "kernel_cache", "rtx_engine", "rtx_machine", "rtx_runner", "shapes"),
}


def checked_precision(engines: Path, made: Manifest | Plans, runtime: str, wanted: str | None) -> str:
    """The precision of a repository. `wanted`: None for what the engines are. Raises AssembleError."""
    if isinstance(made, Plans):
        if wanted not in (None, made.precision):
            raise AssembleError(f"{engines} holds plans in {made.precision}, as they were exported. Leave out --precision.")
        return made.precision
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


def checked_device(runtime: str, device: str) -> dict[str, str]:
    """The config parameter `device`, of runtimes that have a choice. Raises AssembleError."""
    if runtime == RTX and device == "cpu":
        raise AssembleError("TensorRT for RTX runs on GPUs alone. Leave out --device, or say cuda or cuda:1; on a CPU use --runtime openvino.")
    return {"device": device} if runtime in ON_DEVICES else {}


def vendor(version: Path, runtime: str) -> None:
    """Lays what runs engines beside a model, under the name by which it is imported."""
    for name in ("__init__.py", *(f"embedded/{module}.py" for module in (*_MODULES, *_FURTHER.get(runtime, ())))):
        copy(EMBEDDED.parent / name, version / "masklet_build" / name)


def copy_engine(engines: Path, name: str, folder: Path, new_name: str) -> None:
    """The files of an engine under a new name; weights in a file of their own keep theirs, by which the graph refers to them. Of a plan, beside it,
    what it was built for."""
    if (engines / f"{name}.plan").is_file():
        copy(engines / f"{name}.plan", folder / f"{new_name}.plan")
        copy(engines / RECORD, folder / RECORD)
        return
    for file in engines.glob(f"{name}.*"):
        copy(file, folder / (file.name if file.name.endswith(WEIGHTS) else file.name.replace(name, new_name, 1)))


def copy(file: Path, to: Path) -> None:
    """Copies a file, and makes its folder."""
    to.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(file, to)

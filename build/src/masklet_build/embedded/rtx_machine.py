"""Whether engines of TensorRT for RTX can run here, in words: asked before any package of NVIDIA's is imported."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from masklet_build.embedded.gpu import DeviceError, Gpu

RECORD = "plans.json"  # beside the engines: what they were built by and for
# GPUs that the compiler builds masklet's engines for: those of its ComputeCapability but Turing, where it has no float32 matrix products.
TARGETS = ("8.0", "8.6", "8.9", "12.0", "12.1")
_CUDA = 13  # of the packages below
_BINDINGS = "tensorrt-rtx-cu13-bindings"
# cupy 14 wants numpy 2, which Triton's python backend cannot take. It compiles its kernels with nvrtc, against the headers of the runtime.
_CUPY = ("cupy-cuda13x==13.6.0", "nvidia-cuda-nvrtc==13.0.*", "nvidia-cuda-runtime==13.0.*")


@dataclass(frozen=True)
class Built:
    """What engines are bound to.

    version   of TensorRT for RTX
    targets   compute capabilities, such as "8.9"
    """

    version: str
    targets: tuple[str, ...]

    @classmethod
    def read(cls, folder: Path) -> Built:
        """Of the engines in a folder. Raises ValueError."""
        try:
            machine = json.loads((folder / RECORD).read_text(encoding="utf-8"))["machine"]
            return cls(str(machine["version"]), tuple(map(str, machine["targets"])))
        except (OSError, KeyError, TypeError, ValueError) as error:
            raise ValueError(
                f"{folder / RECORD}, which says what the engines were built for, cannot be read ({type(error).__name__}: {error}). "
                "Assemble the model repository again."
            ) from error


def install(built: Built) -> str:
    """The command that installs what runs these engines, into an environment that has numpy 1."""
    packages = (f"tensorrt-rtx-cu13-libs=={built.version}", f"{_BINDINGS}=={built.version}", *_CUPY)
    return "pip install " + " ".join(f'"{package}"' if "*" in package else package for package in packages)


def device_index(name: str) -> int:
    """The GPU of "auto", "cuda" or "cuda:1". Raises ValueError."""
    if not re.fullmatch(r"auto|cuda(:\d+)?", name):
        raise ValueError(f"device {name!r}: TensorRT for RTX runs on GPUs alone. Use auto, cuda, or cuda:1 for the second GPU.")
    return int(name.partition(":")[2] or 0)


def admitted(folder: Path, index: int) -> Gpu:
    """The GPU of this index, once it, its driver and the packages are known to go together with the engines in a folder. Raises ValueError."""
    built = Built.read(folder)
    try:
        gpu = fitting(built, index)
    except DeviceError as error:
        raise ValueError(f"TensorRT for RTX finds no GPU: {error} Without one: masklet-build assemble ... --runtime openvino.") from error
    _check_packages(built)
    return gpu


def fitting(built: Built, index: int) -> Gpu:
    """The GPU of this index, once it and its driver are known to run such engines. Raises DeviceError where there is none, and ValueError."""
    gpu = Gpu(index)
    said = f"{gpu.name} has compute capability {gpu.compute_capability}"
    if gpu.compute_capability not in (*TARGETS, *built.targets):
        raise ValueError(
            f"{said}, which is no target of TensorRT for RTX: it runs on {', '.join(TARGETS)}, GeForce RTX 30 and newer and their like, not on "
            "data-centre GPUs such as H100 or B200, and not on Turing. Take TensorRT (docker/tensorrt.md), or PyTorch: masklet-build export "
            "--for torch, then assemble with --runtime torch."
        )
    if gpu.compute_capability not in built.targets:
        raise ValueError(
            f"{said}, and the engines were built for {', '.join(built.targets)}. Build again, and assemble: masklet-build engine VARIANT --rtx "
            f"--sm {','.join(target.replace('.', '') for target in (*built.targets, gpu.compute_capability))}"
        )
    if int(gpu.driver.partition(".")[0]) < _CUDA:
        raise ValueError(f"the driver supports CUDA {gpu.driver}, and the engines need {_CUDA}.0. Install a driver of R580 or newer.")
    return gpu


def _check_packages(built: Built) -> None:
    """Raises ValueError where they are not installed, or TensorRT for RTX is another version: no other loads an engine."""
    for package in (_BINDINGS, _CUPY[0].partition("==")[0]):
        try:
            found = version(package)
        except PackageNotFoundError as error:
            raise ValueError(
                f"package {package!r} is not installed in Triton's python environment. Install what runs these engines there: {install(built)}; "
                "or assemble with another --runtime."
            ) from error
        if package == _BINDINGS and found != built.version:
            raise ValueError(
                f"the engines were built by TensorRT for RTX {built.version}, and {found} is installed here; it loads no others than its own. "
                f"{install(built)}; or build again: masklet-build engine VARIANT --rtx"
            )

"""Engines of TensorRT for RTX on a GPU, between arrays of cupy. Importing this imports both."""

from __future__ import annotations

import ctypes
import hashlib
import time
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

import cupy
import numpy as np

from masklet_build.embedded import rtx_engine
from masklet_build.embedded.gpu import Gpu
from masklet_build.embedded.kernel_cache import KernelCache, cache_file
from masklet_build.embedded.logs import LOG
from masklet_build.embedded.rtx_engine import Specialised, agreed
from masklet_build.embedded.rtx_machine import Built
from masklet_build.embedded.shapes import nearest

# Kernels for the sizes of a call are compiled beside the calls that follow; so long after a size came first, they are taken for done, and kept.
SETTLED_S = 30.0
_NVRTC = ("libnvrtc-builtins.so.13.0", "libnvrtc.so.13")

Arrays = Mapping[str, Any]


class RtxRunner:
    """An engine. Outputs lie on the GPU where an input lay there, else on the host; on the GPU they live until the engine's next run.

    Inputs are copied into memory of the runner's own, and outputs are written to it, so that addresses stay the same from call to call: the graphs
    that TensorRT for RTX records are of addresses. Everything is queued on cupy's current stream, as the bank's own operations are.
    """

    lanes = 1

    def __init__(self, file: Path, gpu: Gpu) -> None:
        """Compiles the engine for a GPU that was `admitted`; says in the log that it does and how long it took. Raises RtxError."""
        use(gpu.index)
        self.place = f"cuda:{gpu.index}, {gpu.name}"
        self._name = file.parents[1].name if file.stem == "engine" else file.stem
        identity = {"engine": _sha256(file), "version": Built.read(file.parent).version, "driver": gpu.driver}
        self._cache = KernelCache(cache_file(file, f"{gpu.name}-{gpu.compute_capability}"), identity)
        kept = self._cache.read()
        LOG.info(
            "%s: compiling kernels for %s; %s",
            self._name,
            gpu.name,
            f"{len(kept) >> 10} KiB of them were kept" if kept else "none were kept, so this takes longest",
        )
        begin = time.monotonic()
        self._engine = rtx_engine.load(file)
        self._tensors = rtx_engine.tensors(self._engine)
        self._context, self._kernels = rtx_engine.ready(self._engine, self._name, Specialised.LATER, kept)
        LOG.info("%s: ready for %s after %.1f s", self._name, gpu.name, time.monotonic() - begin)
        self._keep()
        self._memory: dict[str, Any] = {}
        self._profile = -1
        self._seen: set[tuple[tuple[int, ...], ...]] = set()
        self._keep_at: float | None = None

    def __call__(self, calls: Sequence[Arrays]) -> list[dict[str, Any]]:
        """Runs the engine for each call. Inputs are numpy arrays, or cupy's. Raises RtxError, and TypeError for inputs of other types."""
        return [self._call(inputs) for inputs in calls]

    def _call(self, inputs: Arrays) -> dict[str, Any]:
        stream = cupy.cuda.get_current_stream().ptr
        shapes = {name: tuple(inputs[name].shape) for name in self._tensors.inputs}
        self._choose(shapes, stream)
        rtx_engine.set_shapes(self._context, self._name, shapes)
        for name, dtype in self._tensors.inputs.items():
            _fill(self._placed(name, shapes[name], dtype), inputs[name], name)
        outputs = {name: self._placed(name, tuple(self._context.get_tensor_shape(name)), dtype) for name, dtype in self._tensors.outputs.items()}
        agreed(self._context.execute_async_v3(stream), self._name, "run it")
        self._keep_if_due(tuple(shapes.values()))
        on_host = all(isinstance(inputs[name], np.ndarray) for name in self._tensors.inputs)
        return {name: cupy.asnumpy(array) for name, array in outputs.items()} if on_host else outputs

    def _choose(self, shapes: Mapping[str, tuple[int, ...]], stream: int) -> None:
        profile = nearest(self._tensors.table, shapes)
        if profile is None:
            call = ", ".join(f"{name} {list(shape)}" for name, shape in shapes.items())
            raise rtx_engine.RtxError(f"{self._name} was not built for a call of {call}. Build for larger ones: masklet-build engine --help")
        if profile != self._profile:
            agreed(self._context.set_optimization_profile_async(profile, stream), self._name, f"take profile {profile}")
            self._profile = profile

    def _placed(self, name: str, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Any:
        """Memory of a tensor, as an array of this shape, and its address told to the context."""
        nbytes = int(np.prod(shape)) * dtype.itemsize
        if name not in self._memory or self._memory[name].nbytes < nbytes:
            self._memory[name] = cupy.empty(nbytes, np.uint8)
        memory = self._memory[name]
        agreed(self._context.set_tensor_address(name, memory.__cuda_array_interface__["data"][0]), self._name, f"take an address for {name}")
        return memory[:nbytes].view(dtype).reshape(shape)

    def _keep_if_due(self, shapes: tuple[tuple[int, ...], ...]) -> None:
        """Keeps kernels some time after new sizes came."""
        if shapes not in self._seen:
            self._seen.add(shapes)
            self._keep_at = time.monotonic() + SETTLED_S
        elif self._keep_at is not None and time.monotonic() >= self._keep_at:
            self._keep_at = None
            self._keep()

    def _keep(self) -> None:
        kernels = self._kernels.serialize()
        if kernels is not None:
            self._cache.write(bytes(kernels))


def _fill(memory: Any, array: Any, name: str) -> None:
    """Copies an array of the host or the GPU."""
    if array.dtype != memory.dtype:
        raise TypeError(f"{name} is {array.dtype}, not {memory.dtype}")
    if isinstance(array, np.ndarray):
        memory.set(np.ascontiguousarray(array))
    else:
        memory[...] = array


def _sha256(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def arrays(copied: Any, of_module: Callable[[Any, Any], Any]) -> Any:
    """The arrays of memory_bank, of cupy, on the GPU in use (see engine.device_arrays)."""
    return of_module(cupy, copied)


@cache
def use(index: int) -> cupy.cuda.Stream:
    """Makes a GPU this thread's, with a queue of its own for all that cupy and the engines do, in the order of the calls.

    It waits for the default queue and lets that wait, so what another library puts there comes in order too.
    """
    _load_nvrtc()
    cupy.cuda.Device(index).use()
    stream = cupy.cuda.Stream()
    stream.use()
    return stream  # kept by the cache: cupy itself holds no queue that nobody else does


def _load_nvrtc() -> None:
    """Loads the compiler of cupy's kernels from its wheel, where cupy does not look for it. Without the wheel cupy takes the system's."""
    try:
        wheel = distribution("nvidia-cuda-nvrtc")
    except PackageNotFoundError:
        return
    for name in _NVRTC:
        file = Path(str(wheel.locate_file(f"nvidia/cu13/lib/{name}")))
        if file.exists():
            ctypes.CDLL(str(file), mode=ctypes.RTLD_GLOBAL)

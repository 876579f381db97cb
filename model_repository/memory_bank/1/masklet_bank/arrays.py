"""Where the bank's arrays live, and the few things that are done with them there.

The bank keeps of a frame what it was given: it rounds memories, stacks, and hands on. With engines on a GPU all of that happens there, since the
memories that an object reads each frame (7 MiB at 1024 pixels, widened) are many times what else a frame moves. `Arrays` is the whole of it:

    HostArrays     numpy, for engines on CPUs
    DeviceArrays   a module with numpy's functions and arrays on a device: cupy (`on_gpu`)

A third implementation can be given from outside, by whoever runs the engines in this process. On a device only small or unavoidable things
cross over: numbers that describe a call, points and masks of users, scores, and the logits of the answer. Each crossing is counted (`Copied`),
and what a frame copies does not depend on how much is remembered.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import reduce
from operator import and_
from typing import Any, Protocol

import numpy as np

from masklet_bank import bfloat16


@dataclass
class Copied:
    """Bytes copied so far between host and device."""

    to_device: int = 0
    to_host: int = 0


# What lives there. The bank asks an array for shape, nbytes and reshape, and indexes it with integers, slices and None. None is written to once made.
Array = Any


class Arrays(Protocol):
    """The operations. All tensors are float32, but for stored memories, which are bfloat16 bits (uint16 as numpy sees them, see bfloat16.py)."""

    copied: Copied

    def put(self, array: np.ndarray | Array) -> Array:
        """The array where the bank's arrays live; itself if it is there."""

    def get(self, array: np.ndarray | Array) -> np.ndarray:
        """The array on the host, stored memories as uint16; itself if it is there."""

    def adopt(self, tensor: Any) -> Array:
        """The array of a tensor that speaks DLPack and lies where the bank's arrays live. It lives as long as the tensor."""

    def send(self, inputs: Mapping[str, np.ndarray | Array]) -> Mapping[str, Any]:
        """The inputs of an engine call, as the engine takes them. Those that describe the call come as small numpy arrays."""

    def own(self, array: Array) -> Array:
        """A copy that depends on no other array: what an engine gave may live only until its next call."""

    def stack(self, arrays: Sequence[Array]) -> Array:
        """As np.stack. A single array is not copied."""

    def fill(self, given: Sequence[Array | None], shape: tuple[int, ...], value: float) -> Array:
        """[len(given), *shape]: each array that is given, and `value` everywhere for None."""

    def clip(self, array: Array, limit: float) -> Array:
        """The array within -limit and limit."""

    def finite(self, *tensors: Array) -> list[bool]:
        """For each of B rows, whether all its values are finite in every one of these tensors [B, ...]. B bytes cross, however many tensors."""

    def round(self, memory: Array) -> list[Array]:
        """Rows of [B, T, 64] rounded to bfloat16 bits [T, 64], each an array of its own."""

    def widen(self, memories: Sequence[Sequence[Array]]) -> Array:
        """B lists of F stored memories [T, 64] as float32 [B, F, T, 64]."""


@dataclass(eq=False)
class _ModuleArrays:
    """What is done alike by every `module` that has numpy's functions."""

    module: Any
    copied: Copied = field(default_factory=Copied)

    def adopt(self, tensor: Any) -> Array:
        return self.module.from_dlpack(tensor)

    def own(self, array: Any) -> Array:
        return array.copy()

    def stack(self, arrays: Sequence[Array]) -> Array:
        return arrays[0][np.newaxis] if len(arrays) == 1 else self.module.stack(arrays)

    def fill(self, given: Sequence[Array | None], shape: tuple[int, ...], value: float) -> Array:
        filled = self.module.full((len(given), *shape), value, np.float32)
        for row, array in enumerate(given):
            if array is not None:
                filled[row] = array
        return filled

    def clip(self, array: Array, limit: float) -> Array:
        return self.module.clip(array, -limit, limit)


class HostArrays(_ModuleArrays):
    """numpy: nothing is copied that need not be, and nothing crosses."""

    def __init__(self) -> None:
        super().__init__(np)

    def put(self, array: np.ndarray) -> np.ndarray:
        """See Arrays."""
        return array

    get = send = put

    def finite(self, *tensors: np.ndarray) -> list[bool]:
        """See Arrays."""
        return [all(bool(np.isfinite(row).all()) for row in rows) for rows in zip(*tensors, strict=True)]

    def round(self, memory: np.ndarray) -> list[np.ndarray]:
        """See Arrays."""
        return [bfloat16.to_bits(row) for row in memory]

    def widen(self, memories: Sequence[Sequence[np.ndarray]]) -> np.ndarray:
        """See Arrays."""
        wide = np.empty((len(memories), len(memories[0]), *memories[0][0].shape), np.float32)
        for row, bits_of_object in enumerate(memories):
            for place, bits in enumerate(bits_of_object):
                bfloat16.widen(bits, out=wide[row, place])
        return wide


HOST = HostArrays()


class DeviceArrays(_ModuleArrays):
    """Arrays on a device: cupy's, where it is not a test.

    Few operations on large arrays, as each is a launch of a kernel. Host arrays among the inputs of a call stay on the host: the engine's
    backend takes them across, which costs less than to share many tiny device arrays with its process.
    """

    def put(self, array: np.ndarray | Array) -> Array:
        """See Arrays."""
        if not isinstance(array, np.ndarray):
            return array
        self.copied.to_device += array.nbytes
        return self.module.asarray(array)

    def get(self, array: np.ndarray | Array) -> np.ndarray:
        """See Arrays."""
        if isinstance(array, np.ndarray):
            return array
        self.copied.to_host += array.nbytes
        return self.module.asnumpy(array)

    def send(self, inputs: Mapping[str, np.ndarray | Array]) -> Mapping[str, np.ndarray | Array]:
        """See Arrays."""
        self.copied.to_device += sum(array.nbytes for array in inputs.values() if isinstance(array, np.ndarray))
        return inputs

    def finite(self, *tensors: Array) -> list[bool]:
        """See Arrays."""
        each = (self.module.isfinite(tensor).all(axis=tuple(range(1, len(tensor.shape)))) for tensor in tensors)
        return self.get(reduce(and_, each)).tolist()

    def round(self, memory: Any) -> list[Array]:
        """See Arrays."""
        bits = bfloat16.to_bits(memory)
        return [bits[row].copy() for row in range(len(bits))]  # a view would hold the memories of all objects of the call

    def widen(self, memories: Sequence[Sequence[Array]]) -> Array:
        """See Arrays."""
        bits = self.module.stack([memory for of_object in memories for memory in of_object])
        return (bits.astype(np.uint32) << 16).view(np.float32).reshape(len(memories), len(memories[0]), *bits.shape[1:])


def on_gpu(device: int) -> DeviceArrays:
    """The bank's arrays on a GPU, by cupy, for the thread that calls this. Raises ModuleNotFoundError or RuntimeError that say what to do."""
    try:
        import cupy
    except ImportError as error:
        raise ModuleNotFoundError(
            f"the bank needs cupy on a GPU, and it cannot be imported: {error}. Install cupy-cuda12x or cupy-cuda13x, whichever the image's CUDA is."
        ) from error
    try:
        cupy.cuda.Device(device).use()
    except Exception as error:
        raise RuntimeError(f"cupy cannot use GPU {device}: {error}. Look at nvidia-smi, and at which GPUs the container was given.") from error
    return DeviceArrays(cupy)

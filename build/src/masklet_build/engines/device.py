"""The first GPU that this process may see: its memory and its queue of work, through the library of its driver (see embedded/gpu.py)."""

from __future__ import annotations

import ctypes
from collections.abc import Mapping, Sequence
from ctypes import POINTER, c_int, c_size_t, c_uint, c_uint64, c_void_p
from typing import Any, ClassVar

import numpy as np

from masklet_build.embedded.gpu import DeviceError, Gpu

__all__ = ["Device", "DeviceError"]

_ALONE = 1  # CU_STREAM_NON_BLOCKING: does not wait for the default stream


class Device(Gpu):
    """A GPU that can be worked with."""

    # A CUdeviceptr is an unsigned integer of 64 bits; streams and contexts are pointers.
    functions: ClassVar[Mapping[str, Sequence[Any]]] = {
        **Gpu.functions,
        "cuDevicePrimaryCtxRetain": [POINTER(c_void_p), c_int],
        "cuCtxSetCurrent": [c_void_p],
        "cuMemAlloc_v2": [POINTER(c_uint64), c_size_t],
        "cuMemFree_v2": [c_uint64],
        "cuMemcpyHtoDAsync_v2": [c_uint64, c_void_p, c_size_t, c_void_p],
        "cuMemcpyDtoHAsync_v2": [c_void_p, c_uint64, c_size_t, c_void_p],
        "cuStreamCreate": [POINTER(c_void_p), c_uint],
        "cuStreamSynchronize": [c_void_p],
    }

    def use(self) -> None:
        """Makes the GPU this thread's, by the context that TensorRT uses, too. To be called before anything below."""
        context = c_void_p()
        self._call("cuDevicePrimaryCtxRetain", ctypes.byref(context), self._handle)
        self._call("cuCtxSetCurrent", context)

    def stream(self) -> int:
        """A new queue of work."""
        return int(self._get(c_void_p(), "cuStreamCreate", _ALONE))

    def wait(self, stream: int) -> None:
        """Returns when everything in the queue is done. Raises DeviceError where anything in it failed."""
        self._call("cuStreamSynchronize", stream)

    def allocate(self, nbytes: int) -> int:
        """Address of so much memory of the GPU."""
        return int(self._get(c_uint64(), "cuMemAlloc_v2", nbytes))

    def free(self, address: int) -> None:
        """Gives memory back."""
        self._call("cuMemFree_v2", address)

    def upload(self, array: np.ndarray, address: int, stream: int) -> None:
        """Queues a copy of a contiguous array to the GPU. The array must live until the queue is done."""
        self._call("cuMemcpyHtoDAsync_v2", address, array.ctypes.data, array.nbytes, stream)

    def download(self, address: int, array: np.ndarray, stream: int) -> None:
        """Queues a copy from the GPU into a contiguous array."""
        self._call("cuMemcpyDtoHAsync_v2", array.ctypes.data, address, array.nbytes, stream)

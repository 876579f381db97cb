"""The GPU, through the library that its driver brings (libcuda): which one it is, its memory, its queue of work.

The driver's functions are few, old and stable, and every container with a GPU has them; so nothing needs to be installed beside TensorRT.
They are those of the CUDA Driver API (cuda.h): https://docs.nvidia.com/cuda/cuda-driver-api/
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from ctypes import POINTER, c_char_p, c_int, c_size_t, c_uint, c_uint64, c_void_p
from typing import Any

import numpy as np

LIBRARY = "libcuda.so.1"
_MAJOR, _MINOR = 75, 76  # CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR, _MINOR
_ALONE = 1  # CU_STREAM_NON_BLOCKING: does not wait for the default stream

# Without these ctypes would pass every number as 32 bits. A CUdeviceptr is an unsigned integer of 64; streams and contexts are pointers.
_FUNCTIONS: dict[str, Sequence[Any]] = {
    "cuInit": [c_uint],
    "cuGetErrorString": [c_int, POINTER(c_char_p)],
    "cuDriverGetVersion": [POINTER(c_int)],
    "cuDeviceGet": [POINTER(c_int), c_int],
    "cuDeviceGetName": [c_char_p, c_int, c_int],
    "cuDeviceGetAttribute": [POINTER(c_int), c_int, c_int],
    "cuDevicePrimaryCtxRetain": [POINTER(c_void_p), c_int],
    "cuCtxSetCurrent": [c_void_p],
    "cuMemAlloc_v2": [POINTER(c_uint64), c_size_t],
    "cuMemFree_v2": [c_uint64],
    "cuMemcpyHtoDAsync_v2": [c_uint64, c_void_p, c_size_t, c_void_p],
    "cuMemcpyDtoHAsync_v2": [c_void_p, c_uint64, c_size_t, c_void_p],
    "cuStreamCreate": [POINTER(c_void_p), c_uint],
    "cuStreamSynchronize": [c_void_p],
}


class DeviceError(Exception):
    """There is no GPU that can be used, or it refused; the message says what to do where that is known."""


class Device:
    """The first GPU that this process may see. CUDA_VISIBLE_DEVICES chooses another.

    name                 such as "NVIDIA H100 PCIe"
    compute_capability   such as "9.0"
    driver               the CUDA version that the driver supports, such as "13.0"
    """

    def __init__(self) -> None:
        """Raises DeviceError where there is no driver or no GPU."""
        try:
            self._library = ctypes.CDLL(LIBRARY)
        except OSError as error:
            raise DeviceError(
                f"{LIBRARY} cannot be loaded: {error}. This needs an NVIDIA GPU and its driver; in a container, docker run --gpus all."
            ) from error
        for name, arguments in _FUNCTIONS.items():
            getattr(self._library, name).argtypes = arguments
        self._call("cuInit", 0)
        self._handle = self._get(c_int(), "cuDeviceGet", 0)
        name_buffer = ctypes.create_string_buffer(256)
        self._call("cuDeviceGetName", name_buffer, len(name_buffer), self._handle)
        self.name = name_buffer.value.decode()
        self.compute_capability = ".".join(str(self._get(c_int(), "cuDeviceGetAttribute", which, self._handle)) for which in (_MAJOR, _MINOR))
        version = self._get(c_int(), "cuDriverGetVersion")  # 1000 x major + 10 x minor
        self.driver = f"{version // 1000}.{version % 1000 // 10}"

    def _call(self, function: str, *arguments: Any) -> None:
        code = getattr(self._library, function)(*arguments)
        if code:
            text = c_char_p()
            self._library.cuGetErrorString(code, ctypes.byref(text))
            raise DeviceError(f"{function} failed: {(text.value or b'unknown error').decode()} ({code})")

    def _get(self, into: Any, function: str, *arguments: Any) -> Any:
        """The value that a function writes to its first argument."""
        self._call(function, ctypes.byref(into), *arguments)
        return into.value

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

"""Which GPUs there are, through the library that NVIDIA's driver brings (libcuda): asked before anything that needs one is imported.

The driver's functions are few, old and stable, and every container with a GPU has them; so nothing needs to be installed for this.
They are those of the CUDA Driver API (cuda.h): https://docs.nvidia.com/cuda/cuda-driver-api/
"""

from __future__ import annotations

import ctypes
from collections.abc import Mapping, Sequence
from ctypes import POINTER, c_char_p, c_int, c_uint
from typing import Any, ClassVar

LIBRARY = "libcuda.so.1"
_MAJOR, _MINOR = 75, 76  # CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR, _MINOR

# Without these ctypes would pass every number as 32 bits.
_FUNCTIONS: Mapping[str, Sequence[Any]] = {
    "cuInit": [c_uint],
    "cuGetErrorString": [c_int, POINTER(c_char_p)],
    "cuDriverGetVersion": [POINTER(c_int)],
    "cuDeviceGetCount": [POINTER(c_int)],
    "cuDeviceGet": [POINTER(c_int), c_int],
    "cuDeviceGetName": [c_char_p, c_int, c_int],
    "cuDeviceGetAttribute": [POINTER(c_int), c_int, c_int],
}


class DeviceError(Exception):
    """There is no GPU that can be used, or it refused; the message says what to do where that is known."""


class Gpu:
    """One of the GPUs that this process may see. CUDA_VISIBLE_DEVICES chooses others.

    index                among them
    name                 such as "NVIDIA H100 PCIe"
    compute_capability   such as "9.0"
    driver               the CUDA version that the driver supports, such as "13.0"
    """

    functions: ClassVar[Mapping[str, Sequence[Any]]] = _FUNCTIONS  # name -> types of its arguments

    def __init__(self, index: int = 0) -> None:
        """Raises DeviceError where there is no driver or no such GPU."""
        try:
            self._library = ctypes.CDLL(LIBRARY)
        except OSError as error:
            raise DeviceError(
                f"{LIBRARY} cannot be loaded: {error}. This needs an NVIDIA GPU and its driver; in a container, docker run --gpus all."
            ) from error
        for name, arguments in self.functions.items():
            getattr(self._library, name).argtypes = arguments
        self._call("cuInit", 0)
        count = self._get(c_int(), "cuDeviceGetCount")
        if index >= count:
            raise DeviceError(f"GPU {index} is not there: the driver sees {count}, counted from 0. Look at nvidia-smi, and at CUDA_VISIBLE_DEVICES.")
        self.index = index
        self._handle = self._get(c_int(), "cuDeviceGet", index)
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
            advice = ". Look at nvidia-smi, and at CUDA_VISIBLE_DEVICES." if function == "cuInit" else ""
            raise DeviceError(f"{function} failed: {(text.value or b'unknown error').decode()} ({code}){advice}")

    def _get(self, into: Any, function: str, *arguments: Any) -> Any:
        """The value that a function writes to its first argument."""
        self._call(function, ctypes.byref(into), *arguments)
        return into.value

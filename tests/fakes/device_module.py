"""A module like cupy without a GPU: numpy inside, and as strict as cupy about what may not cross by accident.

An array here is no numpy array and does not become one by itself: `__array__` raises, and numpy's functions refuse it. Only `asarray` and `asnumpy`
cross, and how many bytes they took is written down, so that a test can tell what the bank counts from what happened.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tests.fakes.dlpack import CUDA, packed, unpacked


class Module:
    """Stands for `cupy`: the functions that the bank and the runner of TensorRT for RTX use, with cupy's names and signatures
    (tests/memory_bank/test_arrays.py)."""

    def __init__(self) -> None:
        self.to_device = 0
        self.to_host = 0
        self.cuda = Cuda()

    def empty(self, shape: Any, dtype: Any) -> ndarray:
        return ndarray(np.full(shape, 255, dtype))  # as float32: NaN

    def asarray(self, a: np.ndarray) -> ndarray:
        self.to_device += a.nbytes
        return ndarray(a.copy())

    def asnumpy(self, a: ndarray) -> np.ndarray:
        array = _inside(a)
        self.to_host += array.nbytes
        return array.copy()

    def stack(self, tup: Sequence[ndarray]) -> ndarray:
        return ndarray(np.stack([_inside(array) for array in tup]))

    def full(self, shape: tuple[int, ...], fill_value: float, dtype: Any) -> ndarray:
        return ndarray(np.full(shape, fill_value, dtype))

    def clip(self, a: ndarray, a_min: float, a_max: float) -> ndarray:
        return ndarray(np.clip(_inside(a), a_min, a_max))

    def isfinite(self, x: ndarray) -> ndarray:
        return ndarray(np.isfinite(_inside(x)))

    def from_dlpack(self, array: Any) -> ndarray:
        if tuple(array.__dlpack_device__()) != ndarray.DEVICE:
            raise TypeError(f"the tensor is on device {array.__dlpack_device__()}, not on {ndarray.DEVICE}")
        return ndarray(unpacked(array.__dlpack__(stream=1)))


class Cuda:
    """Stands for `cupy.cuda`: the current device and queue of the one thread that there is."""

    def __init__(self) -> None:
        self.device: int | None = None
        self.current = Stream(self, 0)
        self.made = 0

    def Device(self, device: int) -> Device:
        return Device(self, device)

    def Stream(self) -> Stream:
        self.made += 1
        return Stream(self, 0x7F0000000000 + self.made)

    def get_current_stream(self) -> Stream:
        return self.current


class Device:
    """Stands for `cupy.cuda.Device`."""

    def __init__(self, cuda: Cuda, index: int) -> None:
        self._cuda, self._index = cuda, index

    def use(self) -> None:
        self._cuda.device = self._index


class Stream:
    """Stands for `cupy.cuda.Stream`."""

    def __init__(self, cuda: Cuda, ptr: int) -> None:
        self._cuda, self.ptr = cuda, ptr

    def use(self) -> None:
        self._cuda.current = self


class ndarray:
    """Stands for `cupy.ndarray`."""

    DEVICE = (CUDA, 0)
    __array_ufunc__ = None  # numpy's operators leave it alone, as they do cupy's

    def __init__(self, inside: np.ndarray) -> None:
        self._inside = inside

    def __array__(self, *args: Any, **kwargs: Any) -> np.ndarray:
        raise TypeError("Implicit conversion to a NumPy array is not allowed. Please use `.get()` to construct a NumPy array explicitly.")

    @property
    def shape(self) -> tuple[int, ...]:
        return self._inside.shape

    @property
    def nbytes(self) -> int:
        return self._inside.nbytes

    @property
    def dtype(self) -> np.dtype:
        return self._inside.dtype

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        return {"data": (self._inside.ctypes.data, False)}

    def set(self, arr: np.ndarray) -> None:
        if (arr.dtype, arr.shape) != (self.dtype, self.shape):
            raise TypeError(f"array dtype mismatch: {arr.dtype} {arr.shape}, {self.dtype} {self.shape}")
        self._inside[...] = arr

    def __len__(self) -> int:
        return len(self._inside)

    def __getitem__(self, key: Any) -> ndarray:
        found = self._inside[key]
        return ndarray(found if isinstance(found, np.ndarray) else np.array(found))  # a number of an array is an array in cupy

    def __setitem__(self, key: Any, value: ndarray) -> None:
        self._inside[key] = _inside(value)

    def copy(self) -> ndarray:
        return ndarray(self._inside.copy())

    def view(self, dtype: Any) -> ndarray:
        return ndarray(self._inside.view(dtype))

    def astype(self, dtype: Any) -> ndarray:
        return ndarray(self._inside.astype(dtype))

    def reshape(self, *shape: int) -> ndarray:
        return ndarray(self._inside.reshape(*shape))

    def all(self, axis: tuple[int, ...]) -> ndarray:
        return ndarray(self._inside.all(axis=axis))

    def __add__(self, other: ndarray | np.generic | int) -> ndarray:
        return ndarray(self._inside + _operand(other))

    def __rshift__(self, other: int) -> ndarray:
        return ndarray(self._inside >> _operand(other))

    def __lshift__(self, other: int) -> ndarray:
        return ndarray(self._inside << _operand(other))

    def __and__(self, other: ndarray | int) -> ndarray:
        return ndarray(self._inside & _operand(other))

    def __dlpack__(self, stream: int | None = None) -> Any:
        return packed(self._inside)

    def __dlpack_device__(self) -> tuple[int, int]:
        return self.DEVICE


def _inside(array: Any) -> np.ndarray:
    if not isinstance(array, ndarray):
        raise TypeError(f"Unsupported type {type(array)}")  # cupy's words for a numpy array
    return array._inside


def _operand(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        raise TypeError(f"Unsupported type {type(value)}")
    return _inside(value) if isinstance(value, ndarray) else value

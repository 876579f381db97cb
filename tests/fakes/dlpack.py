"""DLPack capsules of numpy arrays, as libraries for GPUs make theirs.

numpy's own do not do. It gives none of arrays that may not be written to, and where Triton has taken one, which renames it to "used_dlpack", numpy
1.26 reports an error and later the process crashes. cupy and torch let go of a capsule with any other name.
"""

from __future__ import annotations

import atexit
import ctypes
from typing import Any

import numpy as np

CPU, CUDA, PINNED = 1, 2, 3  # device types; the third is host memory that a GPU reaches
_CODES = {"i": 0, "u": 1, "f": 2}


class _DLTensor(ctypes.Structure):
    _fields_ = (
        ("data", ctypes.c_void_p),
        ("device_type", ctypes.c_int32),
        ("device_id", ctypes.c_int32),
        ("ndim", ctypes.c_int32),
        ("code", ctypes.c_uint8),
        ("bits", ctypes.c_uint8),
        ("lanes", ctypes.c_uint16),
        ("shape", ctypes.POINTER(ctypes.c_int64)),
        ("strides", ctypes.POINTER(ctypes.c_int64)),
        ("byte_offset", ctypes.c_uint64),
    )


class _DLManagedTensor(ctypes.Structure):
    pass


_Deleter = ctypes.CFUNCTYPE(None, ctypes.POINTER(_DLManagedTensor))
_DLManagedTensor._fields_ = (("dl_tensor", _DLTensor), ("manager_ctx", ctypes.c_void_p), ("deleter", _Deleter))

_new = ctypes.pythonapi.PyCapsule_New
_new.restype, _new.argtypes = ctypes.py_object, [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p]
_held: dict[int, tuple[Any, ...]] = {}  # address of a tensor -> what it points to, until whoever took it is done with it


@_Deleter
def _delete(managed: Any) -> None:
    del _held[ctypes.addressof(managed.contents)]


@atexit.register
def _let_go() -> None:
    """What is left at the end of the process stays: its deleter could not be called any more."""
    for managed, *_ in _held.values():
        managed.deleter = _Deleter()
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(_held))


def packed(array: np.ndarray) -> Any:
    """A capsule that shares the memory of an array."""
    sizes = (ctypes.c_int64 * array.ndim)(*array.shape)
    strides = (ctypes.c_int64 * array.ndim)(*(stride // array.itemsize for stride in array.strides))
    tensor = _DLTensor(array.ctypes.data, CPU, 0, array.ndim, _CODES[array.dtype.kind], 8 * array.itemsize, 1, sizes, strides, 0)
    managed = _DLManagedTensor(tensor, None, _delete)
    _held[ctypes.addressof(managed)] = (managed, array, sizes, strides)
    return _new(ctypes.addressof(managed), b"dltensor", None)


def unpacked(capsule: Any) -> np.ndarray:
    """The numpy array that shares the memory of a capsule."""

    class Packed:
        def __dlpack__(self) -> Any:
            return capsule

        def __dlpack_device__(self) -> tuple[int, int]:
            return (CPU, 0)

    return np.from_dlpack(Packed())

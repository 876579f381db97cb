"""The bytes of a snapshot (see snapshot.py), and what its header may be made of. What is wrong raises ValueError or BadState."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping, Sequence
from math import isfinite
from typing import Any, NoReturn

import numpy as np

from masklet.errors import BadState

_MAGIC = b"MASKLET\x01"
_START = len(_MAGIC) + 8
_DTYPES = {"<f4": np.dtype("<f4"), "<i4": np.dtype("<i4"), "<u2": np.dtype("<u2")}
_EXPONENT = 0x7F80  # of a bfloat16; all ones: infinite, or no number


def join(header: Mapping[str, Any], arrays: Sequence[np.ndarray]) -> np.ndarray:
    """The bytes of a snapshot, uint8 [k]. Its table of arrays becomes part of the header."""
    text = json.dumps({**header, "arrays": [[array.dtype.str, array.shape] for array in arrays]}, separators=(",", ":")).encode()
    start = _START + len(text)
    state = np.empty(start + sum(array.nbytes for array in arrays), np.uint8)
    state[:start] = np.frombuffer(_MAGIC + struct.pack("<Q", len(text)) + text, np.uint8)
    for array in arrays:
        state[start : start + array.nbytes] = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
        start += array.nbytes
    return state


def split(state: np.ndarray, most: int) -> tuple[dict[str, Any], memoryview]:
    """Header and array bytes of uint8 [k]; a header of over `most` bytes is not looked at."""
    data = memoryview(np.ascontiguousarray(state))
    if len(data) < _START or data[: len(_MAGIC)] != _MAGIC:
        raise damaged("it does not begin like one")
    (length,) = struct.unpack("<Q", data[len(_MAGIC) : _START])
    if length > most:
        raise BadState(
            f"the header of the state has {length} bytes; one of this server has {most} at most. Send the bytes of SNAPSHOT unchanged, to a server "
            "whose limits are as high as those of the server that gave it."
        )
    try:
        header = json.loads(bytes(data[_START : _START + length]), parse_constant=_refused)
    except (ValueError, RecursionError) as error:
        raise damaged("its header is cut off or not JSON") from error
    if not isinstance(header, dict):
        raise damaged("its header is not a JSON object")
    return header, data[_START + length :]


def read_arrays(table: Any, body: memoryview) -> list[np.ndarray]:
    """The arrays that `table` lists, each [dtype, shape]; finite, and copies, so that what is forgotten later frees its memory."""
    found, start = [], 0
    for dtype_name, shape in listed(table):
        dtype = _DTYPES[dtype_name]
        sizes = [integer(size) for size in listed(shape)]
        nbytes = dtype.itemsize * int(np.prod(sizes, dtype=object))
        if start + nbytes > len(body):
            raise ValueError(f"{len(body)} bytes of arrays, more were announced")
        array = np.frombuffer(body, dtype, nbytes // dtype.itemsize, start).reshape(sizes).copy()
        if not _is_finite(array):
            raise ValueError(f"array {len(found)} has values that are not finite")
        found.append(array)
        start += nbytes
    if start != len(body):
        raise ValueError(f"{len(body) - start} bytes too many")
    return found


def _is_finite(array: np.ndarray) -> bool:
    if array.dtype.kind == "u":
        return bool(((array & _EXPONENT) != _EXPONENT).all())
    return array.dtype.kind == "i" or bool(np.isfinite(array).all())


def listed(value: Any, most: int | None = None) -> list[Any]:
    """A JSON list, of `most` entries at most."""
    if not isinstance(value, list):
        raise ValueError(f"{short(value)} is not a list")
    if most is not None and len(value) > most:
        raise ValueError(f"{len(value)} entries where {most} are the most")
    return value


def integer(value: Any) -> int:
    """A number that can be an index, an id or a size."""
    if type(value) is not int or not 0 <= value < 2**63:
        raise ValueError(f"{short(value)} is not a whole number of at least 0")
    return value


def real(value: Any) -> float:
    """A finite number."""
    if type(value) not in (int, float) or not isfinite(value):
        raise ValueError(f"{short(value)} is not a finite number")
    return float(value)


def damaged(how: str) -> BadState:
    """The error of bytes that are no snapshot."""
    return BadState(f"the state is not a whole snapshot: {how}. Send the bytes of SNAPSHOT unchanged.")


def short(value: object) -> str:
    """What a client sent, as it may stand in an error."""
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def _refused(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")

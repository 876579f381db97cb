"""A video as bytes, so that it can move to another server and go on there.

    8 bytes   b"MASKLET\\x01"
    8 bytes   length of the header, little-endian unsigned
    header    JSON: identity, position, objects; arrays by their number in `arrays`, [dtype, shape] each
    arrays    raw little-endian bytes, one after another

Never pickle: a snapshot comes from a client and is checked like any other input. Whoever may send frames may also send snapshots; a forged one can
only spoil its own video's masks.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from typing import Any

import numpy as np

from masklet.errors import BadState
from masklet.families import MEMORY_WIDTH, Variant
from masklet_bank.arrays import HOST, Array, Arrays
from masklet_bank.bank import Answer, ObjectBank, Result
from masklet_bank.video import Limits, Video

_MAGIC = b"MASKLET\x01"
_DTYPES = {"<f4": np.dtype("<f4"), "<i4": np.dtype("<i4"), "<u2": np.dtype("<u2")}


def dump(video: Video, identity: Mapping[str, str], arrays: Arrays = HOST) -> np.ndarray:
    """The video as uint8 [k]. `identity` is what the server that restores it must agree on; `arrays`: where those of the video live."""
    writer = _Writer(arrays)
    header = {
        "identity": dict(identity),
        "frame": video.frame,
        "direction": video.direction,
        "travelled": video.travelled,
        "objects": [{"id": object_id, **writer.bank(bank)} for object_id, bank in video.objects.items()],
        "arrays": [[array.dtype.str, array.shape] for array in writer.arrays],
    }
    text = json.dumps(header, separators=(",", ":")).encode()
    return np.frombuffer(b"".join([_MAGIC, struct.pack("<Q", len(text)), text, *(array.tobytes() for array in writer.arrays)]), np.uint8)


def load(state: np.ndarray, variant: Variant, limits: Limits, identity: Mapping[str, str], owner: str | None, arrays: Arrays = HOST) -> Video:
    """The video of a snapshot, its arrays where `arrays` says. Raises BadState if it is damaged, foreign or over the limits."""
    header, body = _split(state.tobytes())
    try:
        _check_identity(header["identity"], identity)
        video = Video(variant.family, limits, owner)
        reader = _Reader(_arrays(header["arrays"], body), variant, arrays)
        video.frame = None if header["frame"] is None else _integer(header["frame"])
        video.direction = {1: 1, -1: -1}[header["direction"]]
        video.travelled = bool(header["travelled"])
        for item in header["objects"]:
            video.objects[_integer(item["id"])] = bank = reader.bank(item, limits)
            if video.travelled and video.frame is not None:  # the server that it comes from may keep more
                bank.evict(video.frame, video.direction)
    except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
        raise _damaged(f"{type(error).__name__} while reading it: {error}") from error
    if len(video.objects) > limits.max_objects:
        raise BadState(
            f"the snapshot holds {len(video.objects)} objects; this server allows {limits.max_objects} per video. Remove some before taking it."
        )
    return video


class _Writer:
    """Collects the arrays of a video, each once, and describes what refers to them."""

    def __init__(self, home: Arrays) -> None:
        self.arrays: list[np.ndarray] = []
        self._home = home
        self._numbers: dict[int, int] = {}

    def bank(self, bank: ObjectBank) -> dict[str, Any]:
        return {
            "conditioning": [self._answer(answer) for answer in bank.conditioning.values()],
            "memories": [[frame, self._number(memory)] for frame, memory in bank.memories.items()],
            "pointers": [[frame, self._number(pointer)] for frame, pointer in bank.pointers.items()],
            **({"trusted": sorted(bank.trusted)} if bank.family.selection else {}),
            "last": self._answer(bank.last) if bank.last else None,
        }

    def _answer(self, answer: Answer) -> dict[str, Any]:
        return {
            "frame": answer.frame,
            "result": self._result(answer.result),
            "points": self._number(answer.points),
            "labels": self._number(answer.labels),
            "tracked": self._result(answer.tracked) if answer.tracked else None,
        }

    def _result(self, result: Result) -> list[Any]:
        return [self._number(result.low), self._number(result.memory), self._number(result.pointer), result.score, result.iou]

    def _number(self, array: np.ndarray | Array) -> int:
        if id(array) not in self._numbers:
            self._numbers[id(array)] = len(self.arrays)
            self.arrays.append(self._home.get(array))
        return self._numbers[id(array)]


class _Reader:
    """Rebuilds banks from a header and its arrays. Every array is checked for the shape and dtype of its place."""

    def __init__(self, arrays: list[np.ndarray], variant: Variant, home: Arrays) -> None:
        self._arrays = arrays
        self._home = home
        self._put: dict[int, Array] = {}
        self._low = ((variant.low_size, variant.low_size), "<f4")
        self._memory = ((variant.memory_tokens, MEMORY_WIDTH), "<u2")
        self._pointer = ((variant.hidden,), "<f4")
        self._family = variant.family

    def bank(self, item: Mapping[str, Any], limits: Limits) -> ObjectBank:
        bank = ObjectBank(self._family, limits.max_conditioning)
        for answer in map(self._answer, item["conditioning"]):
            bank.condition(answer)
        for kept, entries, kind, reach in (
            (bank.memories, item["memories"], self._memory, self._family.num_memories),
            (bank.pointers, item["pointers"], self._pointer, self._family.num_pointers),
        ):
            if len(entries) > reach + len(bank.conditioning):
                raise ValueError(f"{len(entries)} frames remembered")
            kept.update({_integer(frame): self._state(number, kind) for frame, number in entries})
        if self._family.selection is not None:
            bank.trusted = {_integer(frame) for frame in item["trusted"]}
        last = item["last"]
        bank.last = None if last is None else bank.conditioning.get(last["frame"]) or self._answer(last)
        return bank

    def _answer(self, item: Mapping[str, Any]) -> Answer:
        labels = self._array(item["labels"], ((len(self._arrays[item["labels"]]),), "<i4"))
        points = self._array(item["points"], ((len(labels), 2), "<f4"))
        tracked = None if item["tracked"] is None else self._result(item["tracked"])
        return Answer(_integer(item["frame"]), self._result(item["result"]), points, labels, tracked)

    def _result(self, item: list[Any]) -> Result:
        low, memory, pointer, score, iou = item
        return Result(self._state(low, self._low), self._state(memory, self._memory), self._state(pointer, self._pointer), float(score), float(iou))

    def _state(self, number: Any, kind: tuple[tuple[int, ...], str]) -> Array:
        """An array where the bank keeps its own; the same one each time, since it counts once."""
        array = self._array(number, kind)
        if number not in self._put:
            self._put[number] = self._home.put(array)
        return self._put[number]

    def _array(self, number: Any, kind: tuple[tuple[int, ...], str]) -> np.ndarray:
        array = self._arrays[_integer(number)]
        if (array.shape, array.dtype.str) != kind:
            raise ValueError(f"an array is {array.dtype.str} {array.shape}, expected {kind[1]} {kind[0]}")
        return array


def _split(data: bytes) -> tuple[dict[str, Any], bytes]:
    """Header and array bytes."""
    if len(data) < 16 or data[:8] != _MAGIC:
        raise _damaged("it does not begin like one")
    (length,) = struct.unpack("<Q", data[8:16])
    try:
        header = json.loads(data[16 : 16 + length])
    except ValueError as error:
        raise _damaged("its header is cut off or not JSON") from error
    if not isinstance(header, dict):
        raise _damaged("its header is not a JSON object")
    return header, data[16 + length :]


def _arrays(table: list[Any], body: bytes) -> list[np.ndarray]:
    arrays, start = [], 0
    for dtype_name, shape in table:
        dtype = _DTYPES[dtype_name]
        sizes = [_integer(size) for size in shape]
        nbytes = dtype.itemsize * int(np.prod(sizes, dtype=object))
        if start + nbytes > len(body):
            raise ValueError(f"{len(body)} bytes of arrays, more were announced")
        # A copy, so that what is forgotten later frees its memory.
        arrays.append(np.frombuffer(body, dtype, nbytes // dtype.itemsize, start).reshape(sizes).copy())
        start += nbytes
    if start != len(body):
        raise ValueError(f"{len(body) - start} bytes too many")
    return arrays


def _check_identity(found: Mapping[str, str], expected: Mapping[str, str]) -> None:
    for key, value in expected.items():
        if found.get(key) != value:
            raise BadState(
                f"the snapshot was taken with {key} {found.get(key)!r}, this server has {value!r}. Restore it on a server of its own kind."
            )


def _integer(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 2**63:
        raise ValueError(f"{value!r} is not a whole number of at least 0")
    return value


def _damaged(how: str) -> BadState:
    return BadState(f"the state is not a whole snapshot: {how}. Send the bytes of SNAPSHOT unchanged.")

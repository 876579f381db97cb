"""A video as bytes, so that it can move to another server and go on there.

    8 bytes   b"MASKLET\\x01"
    8 bytes   length of the header, little-endian unsigned
    header    JSON: identity, position, objects; arrays by their number in `arrays`, [dtype, shape] each
    arrays    raw little-endian bytes, one after another

Never pickle: a snapshot comes from a client and is checked like any other input, before anything is built: the length of its header, the number of
everything, every value that is kept, and whether its parts fit together. Whoever may send frames may also send snapshots; a forged one can only spoil
its own video's masks.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

from masklet.errors import BadState
from masklet.families import MEMORY_WIDTH, Variant, header_bytes, most_prompted
from masklet_bank.arrays import HOST, Array, Arrays
from masklet_bank.bank import Answer, ObjectBank, Result
from masklet_bank.integrity import check_video
from masklet_bank.policies import policy_of
from masklet_bank.snapshot_format import damaged, integer, join, listed, read_arrays, real, short, split
from masklet_bank.video import Video, VideoLimits

_LABELS = (0, 1, 2, 3)
T = TypeVar("T")


def dump(video: Video, identity: Mapping[str, str], arrays: Arrays = HOST) -> np.ndarray:
    """The video as uint8 [k]. `identity` is what the server that restores it must agree on; `arrays`: where those of the video live."""
    writer = _Writer(arrays, judges=video.policy.judges)
    header = {
        "identity": dict(identity),
        "frame": video.frame,
        "direction": video.direction,
        "travelled": video.travelled,
        "objects": [{"id": object_id, **writer.bank(bank)} for object_id, bank in video.objects.items()],
    }
    return join(header, writer.arrays)


@dataclass(frozen=True)
class Parsed:
    """A snapshot that was read and found to be whole. It holds copies of what it needs, nothing of the bytes that it was made of."""

    header: Mapping[str, Any]
    arrays: list[np.ndarray]
    variant: Variant
    limits: VideoLimits

    def video(self, owner: str | None, arrays: Arrays = HOST) -> Video:
        """The video, its arrays where `arrays` says. Takes milliseconds and, on a GPU, the copies."""
        return _Reader(self, arrays).video(owner)


def parse(state: np.ndarray, variant: Variant, limits: VideoLimits, identity: Mapping[str, str]) -> Parsed:
    """Reads a snapshot, uint8 [k]: all that takes time, and touches nothing that others use. Raises BadState if it is damaged, foreign or over the
    limits."""
    prompted = limits.max_prompted or most_prompted(variant, len(state))
    header, body = split(state, header_bytes(variant, limits.max_objects, prompted))
    try:
        _check_identity(header["identity"], identity)
        _check_counts(header["objects"], limits)
        parsed = Parsed(header, read_arrays(header["arrays"], body), variant, limits)
        reader = _Reader(parsed, HOST)
        video = reader.video(None)
        if reader.unused:
            raise ValueError(f"nothing refers to {reader.unused} of its arrays")
    except BadState:
        raise
    except Exception as error:  # whatever a forged one makes fail
        raise damaged(f"{type(error).__name__} while reading it: {str(error)[:200]}") from error
    if found := check_video(video, variant):
        raise damaged(f"its parts do not fit together: {found[0]}")
    return parsed


class _Writer:
    """Collects the arrays of a video, each once, and describes what refers to them. `judges`: whether its policy does."""

    def __init__(self, home: Arrays, *, judges: bool) -> None:
        self.arrays: list[np.ndarray] = []
        self._home, self._judges = home, judges
        self._numbers: dict[int, int] = {}

    def bank(self, bank: ObjectBank) -> dict[str, Any]:
        return {
            "conditioning": [self._answer(answer) for answer in bank.conditioning.values()],
            "memories": [[frame, self._number(memory)] for frame, memory in bank.memories.items()],
            "pointers": [[frame, self._number(pointer)] for frame, pointer in bank.pointers.items()],
            **({"trusted": sorted(bank.trusted)} if self._judges else {}),
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
    """Rebuilds a video from a header and its arrays. Every array is checked for the shape and dtype of its place."""

    def __init__(self, parsed: Parsed, home: Arrays) -> None:
        self._parsed, self._home = parsed, home
        self._put: dict[int, Array] = {}
        self._read: set[int] = set()
        variant = parsed.variant
        self._low = ((variant.low_size, variant.low_size), "<f4")
        self._memory = ((variant.memory_tokens, MEMORY_WIDTH), "<u2")
        self._pointer = ((variant.hidden,), "<f4")
        self._policy = policy_of(variant.family, parsed.limits.max_conditioning)

    @property
    def unused(self) -> int:
        """Arrays that nothing referred to."""
        return len(self._parsed.arrays) - len(self._read)

    def video(self, owner: str | None) -> Video:
        header = self._parsed.header
        frame = None if header["frame"] is None else integer(header["frame"])
        direction, travelled = header["direction"], header["travelled"]
        objects: dict[int, ObjectBank] = {}
        for item in header["objects"]:
            object_id = integer(item["id"])
            if object_id in objects:
                raise ValueError(f"object {object_id} twice")
            objects[object_id] = bank = self._bank(item)
            if travelled and frame is not None:  # the server that it comes from may keep more
                overdue = self._policy.overdue(bank.conditioning, frame, direction)
                objects[object_id] = bank.evicted(overdue, self._policy.keeps(bank.trusted, frame, direction))
        return Video(self._policy, self._parsed.limits, owner, objects, frame, direction, travelled)

    def _bank(self, item: Mapping[str, Any]) -> ObjectBank:
        conditioning = _by_frame((answer.frame, answer) for answer in map(self._answer, listed(item["conditioning"])))
        memories = _by_frame((integer(frame), self._state(number, self._memory)) for frame, number in listed(item["memories"]))
        pointers = _by_frame((integer(frame), self._state(number, self._pointer)) for frame, number in listed(item["pointers"]))
        trusted = frozenset(integer(frame) for frame in listed(item["trusted"])) if self._policy.judges else frozenset()
        last = item["last"]
        newest = None if last is None else conditioning.get(integer(last["frame"])) or self._answer(last)
        return ObjectBank(conditioning, memories, pointers, trusted, newest)

    def _answer(self, item: Mapping[str, Any]) -> Answer:
        count, limit = len(self._numbered(item["labels"])), self._parsed.limits.max_points
        if count > limit:
            raise BadState(f"the snapshot has {count} points of an object on one frame; this server allows {limit}.")
        labels = self._array(item["labels"], ((count,), "<i4"))
        if not np.isin(labels, _LABELS).all():
            raise ValueError("labels that no prompt has")
        points = self._array(item["points"], ((count, 2), "<f4"))
        tracked = None if item["tracked"] is None else self._result(item["tracked"])
        return Answer(integer(item["frame"]), self._result(item["result"]), points, labels, tracked)

    def _result(self, item: list[Any]) -> Result:
        low, memory, pointer, score, iou = listed(item)
        return Result(self._state(low, self._low), self._state(memory, self._memory), self._state(pointer, self._pointer), real(score), real(iou))

    def _state(self, number: Any, kind: tuple[tuple[int, ...], str]) -> Array:
        """An array where the bank keeps its own; the same one each time, since it counts once."""
        array = self._array(number, kind)
        if number not in self._put:
            self._put[number] = self._home.put(array)
        return self._put[number]

    def _array(self, number: Any, kind: tuple[tuple[int, ...], str]) -> np.ndarray:
        array = self._numbered(number)
        if (array.shape, array.dtype.str) != kind:
            raise ValueError(f"an array is {array.dtype.str} {array.shape}, expected {kind[1]} {kind[0]}")
        return array

    def _numbered(self, number: Any) -> np.ndarray:
        array = self._parsed.arrays[integer(number)]
        self._read.add(number)
        return array


def _by_frame(pairs: Iterable[tuple[int, T]]) -> dict[int, T]:
    found: dict[int, T] = {}
    for frame, one in pairs:
        if frame in found:
            raise ValueError(f"frame {frame} twice")
        found[frame] = one
    return found


def _check_counts(objects: Any, limits: VideoLimits) -> None:
    """Before anything is built; what an object remembers is bounded by the length of the header, and checked when it is built."""
    if len(listed(objects)) > limits.max_objects:
        raise BadState(f"the snapshot holds {len(objects)} objects; this server allows {limits.max_objects} per video. Remove some before taking it.")
    prompted = sum(len(listed(item["conditioning"])) for item in objects)
    if limits.max_prompted and prompted > limits.max_prompted:
        raise BadState(
            f"the objects of the snapshot are prompted on {prompted} frames; this server keeps {limits.max_prompted} per video. Restore it on a "
            "server of its own kind."
        )


def _check_identity(found: Mapping[str, str], expected: Mapping[str, str]) -> None:
    for key in {**expected, **found}:  # what this server has nothing of is in the way too
        value = expected.get(key)
        if found.get(key) == value:
            continue
        if key == "contract_version":
            raise BadState(
                f"the snapshot was taken by a server of contract {short(found.get(key))}, this one has contract {value}, and they keep videos in "
                "different ways. Finish the video on a server of its own contract, or open a new one here and prompt again."
            )
        name = key if key in expected else short(key)
        raise BadState(
            f"the snapshot was taken with {name} {short(found.get(key))}, this server has {value!r}. Restore it on a server of its own kind."
        )

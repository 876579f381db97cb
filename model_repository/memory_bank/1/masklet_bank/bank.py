"""The memory of one object: which frames it remembers, what a frame reads of them, what can be forgotten.

Bookkeeping only: arrays are stored and handed out, never computed with.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np

from masklet.families import Family
from masklet_bank.arrays import Array


@dataclass(frozen=True)
class Result:
    """What the engines made of one object on one frame; its arrays stay where the bank's arrays live (see arrays.py).

    low      [L, L] float32, low-resolution mask logits
    memory   [T, 64] uint16, bfloat16 bits (see bfloat16.py)
    pointer  [hidden] float32
    score    object presence logit
    iou      predicted IoU of the mask
    """

    low: Array
    memory: Array
    pointer: Array
    score: float
    iou: float


@dataclass(frozen=True)
class Answer:
    """One object's answer on one frame, with what a further prompt on that frame needs.

    points, labels   all clicks and box corners given on this frame, [n, 2] float32 model pixels and [n] int32, on the host
    tracked          the result of tracking, before any prompt on this frame; None if the object was prompted here without being tracked
    """

    frame: int
    result: Result
    points: np.ndarray
    labels: np.ndarray
    tracked: Result | None = None


@dataclass(frozen=True)
class Reading:
    """What memory attention gets for one object, in the official order: conditioning frames, then ordinary ones from far to near.

    memories   F arrays [T, 64] uint16        slots      F rows of the temporal code
    pointers   P arrays [hidden] float32      distances  P distances in frames, in the direction of travel
    """

    memories: list[Array]
    slots: list[int]
    pointers: list[Array]
    distances: list[int]


class ObjectBank:
    """The memory of one object.

    max_conditioning   prompted frames kept of those that tracking has passed; 0: all. So many are read at most, or as many as the family reads
    conditioning   answers on prompted frames, in the order in which they were prompted
    memories       frame -> memory of tracked frames, at most num_memories of them
    pointers       frame -> pointer of tracked frames, at most num_pointers of them
    trusted        tracked frames whose mask was good enough to be remembered; stays empty where the family does not select
    last           the newest answer, kept for `refine`
    """

    def __init__(self, family: Family, max_conditioning: int) -> None:
        self.family = family
        self.max_conditioning = max_conditioning
        self.most_read = min((limit for limit in (max_conditioning, family.max_conditioning) if limit), default=0)
        self.conditioning: dict[int, Answer] = {}
        self.memories: dict[int, Array] = {}
        self.pointers: dict[int, Array] = {}
        self.trusted: set[int] = set()
        self.last: Answer | None = None

    def copy(self) -> ObjectBank:
        """A bank with the same arrays, which goes its own way."""
        made = ObjectBank(self.family, self.max_conditioning)
        made.conditioning, made.memories, made.pointers = dict(self.conditioning), dict(self.memories), dict(self.pointers)
        made.trusted, made.last = set(self.trusted), self.last
        return made

    def began_before(self, frame: int, direction: int) -> bool:
        """Whether the object was prompted on a frame that lies before `frame` in the direction of travel (+1 or -1)."""
        return any(direction * (frame - prompted) > 0 for prompted in self.conditioning)

    def read(self, frame: int, direction: int) -> Reading:
        """What tracking on `frame` reads (efficienttam_base.py:524-652). Changes nothing.

        Every frame counts: memory_temporal_stride_for_eval is 1 in all official configurations (efficienttam_base.py:65).
        """
        prompted = self._selected(frame)
        # Conditioning frames that are not selected can stand in an ordinary place (efficienttam_base.py:566-572, 619-622).
        unselected = self.conditioning.keys() - {answer.frame for answer in prompted} - {frame}
        # The last row of the temporal code belongs to conditioning frames; an ordinary frame gets the row of its rank, whether or not the
        # frames between are there.
        conditioning_slot = self.family.num_memories - 1
        memories = [(answer.result.memory, conditioning_slot) for answer in prompted]
        past = self._past(frame, direction)
        for rank, earlier in reversed([*enumerate(past[: self.family.num_memories - 1], 1)]):
            memory = self.conditioning[earlier].result.memory if earlier in unselected else self.memories.get(earlier)
            if memory is not None:
                memories.append((memory, rank - 1))
        # A conditioning frame in the future gives its memory, but no pointer.
        ages = [(answer.result.pointer, direction * (frame - answer.frame)) for answer in prompted]
        pointers = [(pointer, age) for pointer, age in ages if age >= 0]
        # Selection never takes the pointer of the farthest frame on its list (sam3_tracker_base.py:723).
        for rank, earlier in enumerate((past[:-1] if self.family.selection else past)[: self.family.num_pointers - 1], 1):
            pointer = self.conditioning[earlier].result.pointer if earlier in unselected else self.pointers.get(earlier)
            if pointer is not None:
                pointers.append((pointer, rank))
        return Reading(
            [memory for memory, _ in memories], [slot for _, slot in memories], [pointer for pointer, _ in pointers], [age for _, age in pointers]
        )

    def _selected(self, frame: int) -> list[Answer]:
        """The answers on conditioning frames that `frame` reads, over the limit those that the official rule selects. In the order of prompting:
        officially a selection has an order of its own, which makes a difference of rounding only."""
        prompted = [answer for answer in self.conditioning.values() if answer.frame != frame]
        if not self.most_read:
            return prompted
        chosen = closest([answer.frame for answer in prompted], frame, self.most_read)
        return [answer for answer in prompted if answer.frame in chosen]

    def _past(self, frame: int, direction: int) -> list[int]:
        """The ordinary frames that `frame` looks back on, nearest first; a place on this list is a rank.

        Without selection simply the frames before it. With it the frame just before, and the newest of those before that are trusted, frame 0
        never among them when travelling forward (sam3_tracker_base.py:517-557).
        """
        reach = self.family.num_pointers - 1
        if self.family.selection is None:
            return [frame - direction * distance for distance in range(1, reach + 1)]
        before = frame - direction
        behind = [past for past in self.trusted if direction * (frame - past) > 0 and (past != 0 or direction < 0)]
        newest = sorted(behind, key=lambda past: abs(frame - past))[:reach]
        return [before, *(past for past in newest if past != before)]

    def advance(self, frame: int, direction: int) -> None:
        """Forgets what neither `frame` nor any later frame in this direction can read. To be called when `frame` is answered, before its
        own results are written: `refine` may still ask for the frame before it until then."""
        past = self._past(frame, direction)
        for kept, reach in ((self.memories, self.family.num_memories), (self.pointers, self.family.num_pointers)):
            for forgotten in set(kept).difference(past[: reach - 1]):
                del kept[forgotten]
        self.trusted.intersection_update(past)
        self.last = None

    def remember(self, answer: Answer) -> None:
        """Writes the answer on a tracked frame."""
        self.memories[answer.frame] = answer.result.memory
        self.pointers[answer.frame] = answer.result.pointer
        if self.family.selection is not None and quality(answer.result) > self.family.selection.threshold:
            self.trusted.add(answer.frame)
        self.last = answer

    def condition(self, answer: Answer) -> None:
        """Writes the answer on a prompted frame, in place of a tracked answer on the same frame (efficienttam_video_predictor.py:549-552)."""
        self.memories.pop(answer.frame, None)
        self.pointers.pop(answer.frame, None)
        self.trusted.discard(answer.frame)
        self.conditioning[answer.frame] = answer
        self.last = answer

    def overdue(self, frame: int, direction: int, prompted: Iterable[int] = ()) -> list[int]:
        """The conditioning frames over the cap once `frame` is answered, if those in `prompted` become ones too.

        Only the farthest that lie behind: with as many nearer ones no later frame in this direction selects them. What lies ahead stays.
        """
        behind = [earlier for earlier in {*self.conditioning, *prompted} if direction * (frame - earlier) >= 0]
        return sorted(behind, key=lambda earlier: abs(frame - earlier))[self.max_conditioning :] if self.max_conditioning else []

    def evict(self, frame: int, direction: int) -> int:
        """Makes the overdue conditioning frames ordinary ones, as far back as those are read. Returns how many.

        Where the family selects by quality they are forgotten: only tracked frames are selected (sam3_tracker_base.py:540-544).
        """
        overdue = self.overdue(frame, direction)
        past = self._past(frame, direction) if overdue and self.family.selection is None else []
        for evicted in overdue:
            result = self.conditioning.pop(evicted).result
            for kept, array, reach in (
                (self.memories, result.memory, self.family.num_memories),
                (self.pointers, result.pointer, self.family.num_pointers),
            ):
                if evicted in past[: reach - 1]:
                    kept[evicted] = array
        return len(overdue)

    def forget(self, frame: int) -> None:
        """Forgets that the object was prompted on `frame`, as if it had not been."""
        self.conditioning.pop(frame, None)
        if self.last is not None and self.last.frame == frame:
            self.last = None

    def arrays(self) -> Iterable[Array]:
        """Every array that the bank holds; one that stands in several places comes several times."""
        for answer in (*self.conditioning.values(), *([self.last] if self.last else [])):
            yield from (answer.points, answer.labels)
            for result in (answer.result, answer.tracked):
                if result is not None:
                    yield from (result.low, result.memory, result.pointer)
        yield from self.memories.values()
        yield from self.pointers.values()

    def nbytes(self) -> int:
        """Bytes of all arrays, each counted once."""
        return sum({id(array): array.nbytes for array in self.arrays()}.values())

    def grown(self, object_bytes: Callable[[int], int]) -> int:
        """Bytes that the object comes to if it is only tracked from here on: `object_bytes` of its prompted frames, the answers that corrections
        stand upon, and the users' points."""
        answers = {id(answer): answer for answer in (*self.conditioning.values(), *([self.last] if self.last else []))}.values()
        corrected = sum(answer.tracked is not None and answer.tracked is not answer.result for answer in answers)
        points = sum(answer.points.nbytes + answer.labels.nbytes for answer in answers)
        return object_bytes(len(self.conditioning)) + corrected * result_bytes(object_bytes) + points


def result_bytes(object_bytes: Callable[[int], int]) -> int:
    """Bytes of one Result: what a further prompted frame adds to an object."""
    return object_bytes(2) - object_bytes(1)


def quality(result: Result) -> float:
    """How good a tracked mask is, 0..1: predicted IoU, weighted by how surely the object is there (sam3_tracker_base.py:508-515)."""
    presence = 2 / (1 + math.exp(-result.score)) - 1 if result.score > 0 else 0.0
    return presence * result.iou


def closest(frames: Iterable[int], now: int, count: int) -> set[int]:
    """At most `count` of the conditioning frames: the latest before `now`, the earliest at or after it, then the nearest of the others
    (the official rule, modeling/efficienttam_utils.py:19-61)."""
    remaining = sorted(frames, key=lambda frame: abs(frame - now))
    before = max((frame for frame in remaining if frame < now), default=None)
    after = min((frame for frame in remaining if frame >= now), default=None)
    first = [frame for frame in (before, after) if frame is not None]
    return set((first + [frame for frame in remaining if frame not in first])[:count])

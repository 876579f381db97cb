"""The memory of one object: which frames it remembers, what a frame reads of them, what can be forgotten.

Bookkeeping only: arrays are stored and handed out, never computed with.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from masklet.families import Family


@dataclass(frozen=True)
class Result:
    """What the engines made of one object on one frame.

    low      [L, L] float32, low-resolution mask logits
    memory   [T, 64] uint16, bfloat16 bits (see bfloat16.py)
    pointer  [hidden] float32
    score    object presence logit
    iou      predicted IoU of the mask
    """

    low: np.ndarray
    memory: np.ndarray
    pointer: np.ndarray
    score: float
    iou: float


@dataclass(frozen=True)
class Answer:
    """One object's answer on one frame, with what a further prompt on that frame needs.

    points, labels   all clicks and box corners given on this frame, [n, 2] float32 model pixels and [n] int32
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

    memories: list[np.ndarray]
    slots: list[int]
    pointers: list[np.ndarray]
    distances: list[int]


class ObjectBank:
    """The memory of one object.

    conditioning   answers on prompted frames, in the order in which they were prompted
    memories       frame -> memory of tracked frames, at most num_memories of them
    pointers       frame -> pointer of tracked frames, at most num_pointers of them
    last           the newest answer, kept for `refine`
    """

    def __init__(self, family: Family, max_conditioning: int) -> None:
        self.family = family
        self.max_conditioning = max_conditioning
        self.conditioning: dict[int, Answer] = {}
        self.memories: dict[int, np.ndarray] = {}
        self.pointers: dict[int, np.ndarray] = {}
        self.last: Answer | None = None

    def began_before(self, frame: int, direction: int) -> bool:
        """Whether the object was prompted on a frame that lies before `frame` in the direction of travel (+1 or -1)."""
        return any(direction * (frame - prompted) > 0 for prompted in self.conditioning)

    def read(self, frame: int, direction: int) -> Reading:
        """What tracking on `frame` reads (efficienttam_base.py:524-652). Changes nothing.

        Every frame counts: memory_temporal_stride_for_eval is 1 in all official configurations (efficienttam_base.py:65).
        """
        prompted = [answer for answer in self.conditioning.values() if answer.frame != frame]
        # The last row of the temporal code belongs to conditioning frames; an ordinary frame gets the row of its distance, whether or
        # not the frames between are there.
        conditioning_slot = self.family.num_memories - 1
        memories = [(answer.result.memory, conditioning_slot) for answer in prompted]
        for distance in range(self.family.num_memories - 1, 0, -1):
            if (memory := self.memories.get(frame - direction * distance)) is not None:
                memories.append((memory, distance - 1))
        # A conditioning frame in the future gives its memory, but no pointer.
        ages = [(answer.result.pointer, direction * (frame - answer.frame)) for answer in prompted]
        pointers = [(pointer, age) for pointer, age in ages if age >= 0]
        for distance in range(1, self.family.num_pointers):
            if (pointer := self.pointers.get(frame - direction * distance)) is not None:
                pointers.append((pointer, distance))
        return Reading(
            [memory for memory, _ in memories], [slot for _, slot in memories], [pointer for pointer, _ in pointers], [age for _, age in pointers]
        )

    def advance(self, frame: int, direction: int) -> None:
        """Forgets what neither `frame` nor any later frame in this direction can read. To be called when `frame` is answered, before its
        own results are written: `refine` may still ask for the frame before it until then."""
        for kept, reach in ((self.memories, self.family.num_memories), (self.pointers, self.family.num_pointers)):
            for past in [past for past in kept if not 0 < direction * (frame - past) < reach]:
                del kept[past]
        self.last = None

    def remember(self, answer: Answer) -> None:
        """Writes the answer on a tracked frame."""
        self.memories[answer.frame] = answer.result.memory
        self.pointers[answer.frame] = answer.result.pointer
        self.last = answer

    def condition(self, answer: Answer) -> list[int]:
        """Writes the answer on a prompted frame. It takes the place of a tracked answer on the same frame (efficienttam_video_predictor.py:549-552).

        Over the cap, the conditioning frames that lie farthest become ordinary ones; these are returned.
        """
        self.memories.pop(answer.frame, None)
        self.pointers.pop(answer.frame, None)
        self.conditioning[answer.frame] = answer
        self.last = answer
        if not self.max_conditioning:
            return []
        kept = closest(self.conditioning, answer.frame, self.max_conditioning)
        evicted = [frame for frame in self.conditioning if frame not in kept]
        for frame in evicted:
            result = self.conditioning.pop(frame).result
            self.memories[frame] = result.memory
            self.pointers[frame] = result.pointer
        return evicted

    def forget(self, frame: int) -> None:
        """Forgets that the object was prompted on `frame`, as if it had not been."""
        self.conditioning.pop(frame, None)
        if self.last is not None and self.last.frame == frame:
            self.last = None

    def arrays(self) -> Iterable[np.ndarray]:
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


def closest(frames: Iterable[int], now: int, count: int) -> set[int]:
    """At most `count` of the conditioning frames: the latest before `now`, the earliest at or after it, then the nearest of the others
    (the official rule, modeling/efficienttam_utils.py:19-61)."""
    remaining = sorted(frames, key=lambda frame: abs(frame - now))
    before = max((frame for frame in remaining if frame < now), default=None)
    after = min((frame for frame in remaining if frame >= now), default=None)
    first = [frame for frame in (before, after) if frame is not None]
    return set((first + [frame for frame in remaining if frame not in first])[:count])

"""The memory of one object: its arrays by frame, and their bytes. Which frames are read, kept and evicted is for a policy to say (policies/).

A bank is a value: what changes it gives another one, and both hold the same arrays, which are stored and handed out, never computed with.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import TypeVar

import numpy as np

from masklet_bank.arrays import Array
from masklet_bank.policies.official import Frames, Kept, Reads

T = TypeVar("T")


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

    @property
    def results(self) -> list[Result]:
        """Both results."""
        return [self.result] if self.tracked is None else [self.result, self.tracked]


@dataclass(frozen=True)
class Reading:
    """What memory attention gets for one object, in the order of `Reads`.

    memories   F arrays [T, 64] uint16        slots      F rows of the temporal code
    pointers   P arrays [hidden] float32      distances  P distances in frames, in the direction of travel
    """

    memories: list[Array]
    slots: list[int]
    pointers: list[Array]
    distances: list[int]


@dataclass(frozen=True, eq=False)
class ObjectBank:
    """The memory of one object. Prompted and tracked frames are never the same.

    conditioning   answers on prompted frames, in the order in which they were prompted
    memories       frame -> memory of tracked frames
    pointers       frame -> pointer of tracked frames
    trusted        tracked frames that the policy trusts
    last           the newest answer, kept for `refine`
    """

    conditioning: Mapping[int, Answer] = field(default_factory=dict)
    memories: Mapping[int, Array] = field(default_factory=dict)
    pointers: Mapping[int, Array] = field(default_factory=dict)
    trusted: frozenset[int] = frozenset()
    last: Answer | None = None

    @property
    def frames(self) -> Frames:
        """The frames of which something is held."""
        return Frames(self.conditioning.keys(), self.memories.keys(), self.pointers.keys(), self.trusted)

    def read(self, reads: Reads) -> Reading:
        """The arrays of these frames."""
        prompted = self.conditioning
        return Reading(
            [prompted[frame].result.memory if frame in prompted else self.memories[frame] for frame, _ in reads.memories],
            [slot for _, slot in reads.memories],
            [prompted[frame].result.pointer if frame in prompted else self.pointers[frame] for frame, _ in reads.pointers],
            [distance for _, distance in reads.pointers],
        )

    def kept(self, kept: Kept) -> ObjectBank:
        """Without what is of no use to the next frame: ordinary frames but these, and the newest answer."""
        return ObjectBank(self.conditioning, _only(self.memories, kept.memories), _only(self.pointers, kept.pointers), kept.trusted)

    def remembered(self, answer: Answer, *, trusted: bool) -> ObjectBank:
        """With the answer on a tracked frame."""
        frame, result = answer.frame, answer.result
        return ObjectBank(
            self.conditioning,
            {**self.memories, frame: result.memory},
            {**self.pointers, frame: result.pointer},
            self.trusted | {frame} if trusted else self.trusted,
            answer,
        )

    def conditioned(self, answer: Answer) -> ObjectBank:
        """With the answer on a prompted frame, in place of a tracked answer on the same frame (efficienttam_video_predictor.py:549-552)."""
        gone = {answer.frame}
        return ObjectBank(
            {**self.conditioning, answer.frame: answer}, _without(self.memories, gone), _without(self.pointers, gone), self.trusted - gone, answer
        )

    def cleared(self, frame: int) -> ObjectBank:
        """As if the object had not been prompted on `frame`, and without an answer there."""
        return replace(self, conditioning=_without(self.conditioning, {frame}), last=None)

    def evicted(self, frames: Collection[int], kept: Kept) -> ObjectBank:
        """Without these conditioning frames, but for what is kept of them as ordinary ones."""
        memories = {frame: self.conditioning[frame].result.memory for frame in frames if frame in kept.memories}
        pointers = {frame: self.conditioning[frame].result.pointer for frame in frames if frame in kept.pointers}
        conditioning = _without(self.conditioning, frames)
        return replace(self, conditioning=conditioning, memories={**self.memories, **memories}, pointers={**self.pointers, **pointers})

    @property
    def answers(self) -> Iterable[Answer]:
        """All answers that are held, each once."""
        return {id(answer): answer for answer in (*self.conditioning.values(), *([self.last] if self.last else []))}.values()

    def arrays(self) -> Iterator[tuple[int, str, Array]]:
        """Every array with its frame and what it is; one that stands in several places comes several times."""
        yield from ((frame, "memory", array) for frame, array in self.memories.items())
        yield from ((frame, "pointer", array) for frame, array in self.pointers.items())
        for answer in self.answers:
            yield from ((answer.frame, "points", answer.points), (answer.frame, "labels", answer.labels))
            for result in answer.results:
                yield from (
                    (answer.frame, what, array) for what, array in (("logits", result.low), ("memory", result.memory), ("pointer", result.pointer))
                )

    def nbytes(self) -> int:
        """Bytes of all arrays, each counted once."""
        return sum({id(array): array.nbytes for _, _, array in self.arrays()}.values())

    def grown(self, object_bytes: Callable[[int], int]) -> int:
        """Bytes that the object comes to if it is only tracked from here on: `object_bytes` of its prompted frames, the answers that corrections
        stand upon, and the users' points."""
        corrected = sum(answer.tracked is not None and answer.tracked is not answer.result for answer in self.answers)
        points = sum(answer.points.nbytes + answer.labels.nbytes for answer in self.answers)
        of_a_result = object_bytes(2) - object_bytes(1)  # what a further prompted frame adds
        return object_bytes(len(self.conditioning)) + corrected * of_a_result + points


def _only(held: Mapping[int, T], frames: Collection[int]) -> Mapping[int, T]:
    return {frame: one for frame, one in held.items() if frame in frames}


def _without(held: Mapping[int, T], frames: Collection[int]) -> Mapping[int, T]:
    return {frame: one for frame, one in held.items() if frame not in frames}

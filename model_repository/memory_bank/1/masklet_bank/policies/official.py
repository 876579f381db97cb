"""The memory policy of SAM 2, EfficientTAM and EdgeTAM, and what all policies have in common.

A tracked frame reads every conditioning frame, or those that are nearest, and of the frames just before it the memories of six and the pointers of
fifteen (efficienttam_base.py:524-652). Every frame counts: memory_temporal_stride_for_eval is 1 in all official configurations (:65).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

from masklet.families import Family


class Frames(NamedTuple):
    """The frames of which an object remembers something.

    conditioning        prompted ones, in the order in which they were prompted
    memories, pointers  tracked ones
    trusted             tracked ones whose mask was good enough to be remembered, where the policy judges masks
    """

    conditioning: Collection[int]
    memories: Collection[int]
    pointers: Collection[int]
    trusted: frozenset[int]


class Reads(NamedTuple):
    """What a tracked frame reads, in the official order: conditioning frames, then ordinary ones, their memories from far to near.

    memories  (frame, row of the temporal code)
    pointers  (frame, distance in frames, in the direction of travel)
    """

    memories: list[tuple[int, int]]
    pointers: list[tuple[int, int]]


class Kept(NamedTuple):
    """The ordinary frames of which something is kept."""

    memories: Collection[int]
    pointers: Collection[int]
    trusted: frozenset[int]


@dataclass(frozen=True)
class MemoryPolicy:
    """The rules for one object. `direction` is +1 or -1, the way of travel.

    max_conditioning  conditioning frames kept of those that tracking has passed, 0 for all; so many are read at most, or as many as the family reads
    judges            whether masks are judged: else no frame is ever trusted
    """

    family: Family
    max_conditioning: int
    judges: ClassVar[bool] = False

    def reads(self, held: Frames, frame: int, direction: int) -> Reads:
        """What tracking on `frame` reads."""
        chosen = self._chosen(held.conditioning, frame)
        # Conditioning frames that are not chosen can stand in an ordinary place (efficienttam_base.py:566-572, 619-622).
        others = set(held.conditioning).difference(chosen)
        past = self.past(held.trusted, frame, direction)
        # The last row of the temporal code belongs to conditioning frames; an ordinary frame gets the row of its rank, whether or not the
        # frames between are there.
        last_row = self.family.num_memories - 1
        ranked = [(rank, earlier) for rank, earlier in enumerate(self._nearest(past), 1) if earlier in others or earlier in held.memories]
        memories = [*((prompted, last_row) for prompted in chosen), *((earlier, rank - 1) for rank, earlier in reversed(ranked))]
        # A conditioning frame in the future gives its memory, but no pointer.
        pointers = [(prompted, age) for prompted in chosen if (age := direction * (frame - prompted)) >= 0]
        for rank, earlier in enumerate(self._near(self.pointed(past)), 1):
            if earlier in others or earlier in held.pointers:
                pointers.append((earlier, rank))
        return Reads(memories, pointers)

    def keeps(self, trusted: frozenset[int], frame: int, direction: int) -> Kept:
        """The ordinary frames that `frame` or a later one in this direction can read."""
        past = self.past(trusted, frame, direction)
        return Kept(self._nearest(past), self._near(past), trusted.intersection(past))

    def overdue(self, conditioning: Iterable[int], frame: int, direction: int) -> list[int]:
        """The conditioning frames over the cap once `frame` is answered; they become ordinary ones, as far as such are kept (`keeps`).

        Only the farthest that lie behind: with as many nearer ones no later frame in this direction chooses them. What lies ahead stays.
        """
        behind = [earlier for earlier in conditioning if direction * (frame - earlier) >= 0]
        return sorted(behind, key=lambda earlier: abs(frame - earlier))[self.max_conditioning :] if self.max_conditioning else []

    def trusts(self, score: float, iou: float) -> bool:
        """Whether a tracked mask of this presence logit and predicted IoU is good enough to be remembered."""
        return False

    def past(self, trusted: frozenset[int], frame: int, direction: int) -> list[int]:
        """The ordinary frames that `frame` looks back on, nearest first; a place on this list is a rank."""
        return [frame - direction * distance for distance in range(1, self.family.num_pointers)]

    def pointed(self, past: list[int]) -> list[int]:
        """Those of them whose pointers are read."""
        return past

    def _nearest(self, past: list[int]) -> list[int]:
        return past[: self.family.num_memories - 1]

    def _near(self, past: list[int]) -> list[int]:
        return past[: self.family.num_pointers - 1]

    def _chosen(self, conditioning: Iterable[int], frame: int) -> list[int]:
        """The conditioning frames that `frame` reads, over the limit those that the official rule chooses. In the order of prompting: officially a
        choice has an order of its own, which makes a difference of rounding only."""
        others = [prompted for prompted in conditioning if prompted != frame]
        limits = [limit for limit in (self.max_conditioning, self.family.max_conditioning) if limit]
        if not limits:
            return others
        nearest = closest(others, frame, min(limits))
        return [prompted for prompted in others if prompted in nearest]


def closest(frames: Iterable[int], now: int, count: int) -> set[int]:
    """At most `count` of the conditioning frames: the latest before `now`, the earliest at or after it, then the nearest of the others
    (the official rule, modeling/efficienttam_utils.py:19-61)."""
    remaining = sorted(frames, key=lambda frame: abs(frame - now))
    before = max((frame for frame in remaining if frame < now), default=None)
    after = min((frame for frame in remaining if frame >= now), default=None)
    first = [frame for frame in (before, after) if frame is not None]
    return set((first + [frame for frame in remaining if frame not in first])[:count])

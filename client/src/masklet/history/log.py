"""The newest seconds of a video: what was asked, as it was sent, and snapshots between."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from masklet.connection.operations import Operation
from masklet.errors import BadFrameIndex
from masklet.pixels import Sendable
from masklet.prompts import Item
from masklet.results import TrackedFrame

EVERY = 8  # frames between snapshots
HISTORY_BYTES = 512 << 20  # that a history takes at most, by default
OLD_S = 2.0  # after which they are thinned out, to one in
EVERY_OLD = 32  # frames


@dataclass(eq=False)
class Kept:
    """One thing that was asked, and what a rewind has to know of it.

    operation    as it was sent
    at           when it was asked, by the clock of the log
    wants_state  the caller asked for a snapshot itself
    rest_of      the frame that it has further prompts of
    number       its place in the log; later ones are larger
    frame_index  None: not answered yet, or no frame
    answered     the server has done it
    state        a snapshot, taken after it
    edits        what rewinds changed on this frame, oldest first: prompts and removals
    skipped      a catch-up left it out
    frame, tag, arrived_s   what the caller knows of it
    """

    operation: Operation
    at: float
    wants_state: bool = False
    rest_of: Kept | None = None
    number: int = -1
    frame_index: int | None = None
    answered: bool = False
    state: bytes | None = None
    edits: list[tuple[Item, ...]] = field(default_factory=list)
    skipped: bool = False
    frame: Any = None
    tag: Any = None
    arrived_s: float | None = None

    @property
    def is_visit(self) -> bool:
        """Whether it brought a frame for the first time, so that prompts can be given before it."""
        return self.operation.is_frame and not self.operation.options.refine and self.rest_of is None

    @property
    def pixels(self) -> Sendable:
        """The frame as it was sent."""
        tensors = self.operation.tensors
        if "FRAME_ENCODED" in tensors:
            content: bytes = tensors["FRAME_ENCODED"][0, 0]
            return content
        height, width = tensors["FRAME_SIZE"][0].tolist()
        return tensors["FRAME"].reshape(height, width, 3)

    @property
    def nbytes(self) -> int:
        """What it takes."""
        return self.operation.nbytes + len(self.state or b"")


class Log:
    """What was asked in the last `seconds`, and before that as much as a replay needs; in all at most `limit` bytes.

    Not for two threads at once. Raises ValueError.
    """

    def __init__(self, seconds: float, limit: int, clock: Callable[[], float] = time.monotonic) -> None:
        for name, value in (("history_s", seconds), ("history_bytes", limit)):
            if not value > 0:
                raise ValueError(f"{name} must be above 0, got {value:g}.")
        self.seconds = seconds
        self.clock = clock
        self._limit = limit
        self._entries: deque[Kept] = deque()
        self._base: bytes | None = None  # the snapshot before the first entry; None where the video begins with it
        self._whole = True  # the entries follow upon the base
        self._since_state = 0  # frames asked since a snapshot was
        self._next = 0
        self._newest_gone = -1  # number of the newest entry that was given up
        self.nbytes = 0

    def __iter__(self) -> Iterator[Kept]:
        return iter(self._entries)

    @property
    def count(self) -> int:
        """How much was asked since the video began."""
        return self._next

    @property
    def due(self) -> bool:
        """Whether the next frame is to bring a snapshot."""
        return self._since_state + 1 >= EVERY

    def begin(self, state: bytes) -> None:
        """The video begins with this snapshot."""
        self._base = state
        self.nbytes += len(state)

    def add(self, kept: Kept) -> None:
        """Something was asked."""
        kept.number, self._next = self._next, self._next + 1
        if kept.operation.is_frame:
            self._since_state = 0 if kept.operation.options.snapshot else self._since_state + 1
        self._entries.append(kept)
        self.nbytes += kept.nbytes

    def answered(self, kept: Kept, result: TrackedFrame) -> None:
        """It was done."""
        kept.answered = True
        kept.frame_index = result.frame_index if kept.operation.is_frame else None
        if kept in self._entries:
            self.keep(kept, result.snapshot)
            self._bound()

    def keep(self, kept: Kept, state: bytes | None) -> None:
        """The snapshot after an entry; None: there is none."""
        self.nbytes += len(state or b"") - len(kept.state or b"")
        kept.state = state

    def drop(self, kept: Kept) -> None:
        """It was refused, and has changed nothing."""
        if kept in self._entries:
            self._entries.remove(kept)
            self.nbytes -= kept.nbytes

    def forget(self) -> None:
        """Nobody knows what the video holds now; the next snapshot tells."""
        self._entries.clear()
        self._base, self._whole, self._since_state, self.nbytes = None, False, EVERY, 0
        self._newest_gone = self._next - 1

    def find(self, frame_index: int) -> Kept:
        """The newest time that this frame was sent. Raises BadFrameIndex where there is none, or it can no longer be reached."""
        visits = [kept for kept in self._entries if kept.is_visit and kept.frame_index is not None]
        found = next((kept for kept in reversed(visits) if kept.frame_index == frame_index), None)
        if found is not None and self.reaches(found):
            return found
        within = [kept.frame_index for kept in visits if self.reaches(kept) and kept.frame_index is not None]
        kept_for = f"history_s={self.seconds:g} and history_bytes={self._limit} keep {self.nbytes} bytes now"
        if not within:
            raise BadFrameIndex(f"frame {frame_index} cannot be prompted now: no frame can be reached yet ({kept_for}). Prompt the next frame.")
        if found is None and min(within) <= frame_index <= max(within):
            nearest = min(within, key=lambda index: (abs(index - frame_index), index))
            raise BadFrameIndex(f"frame {frame_index} was not tracked, so it cannot be prompted. The nearest one that was is {nearest}.")
        raise BadFrameIndex(
            f"frame {frame_index} cannot be reached: the oldest frame that can is {within[0]}, the newest {within[-1]} ({kept_for}). "
            "Prompt one of these or the next frame, or open the video with more history."
        )

    def reaches(self, kept: Kept) -> bool:
        """Whether the moment before an entry can be made again."""
        return self._whole and kept in self._entries

    def parts(self, kept: Kept) -> list[Kept]:
        """A frame and, where its prompts went in several requests, the others."""
        return [kept, *(one for one in self._entries if one.rest_of is kept)]

    def before(self, kept: Kept) -> tuple[int, bytes | None]:
        """Where a replay that leads to an entry begins: number of its first entry, and the snapshot before that (None: an empty video).

        Raises BadFrameIndex.
        """
        if not self.reaches(kept):
            raise BadFrameIndex(f"frame {kept.frame_index} cannot be reached any more: the history went on meanwhile. Prompt a newer frame.")
        base: tuple[int, bytes | None] = (self._entries[0].number, self._base)
        for one in self._entries:
            if one is kept:
                break
            if one.state is not None:
                base = one.number + 1, one.state
        return base

    def after(self, number: int) -> list[Kept]:
        """The entries from this number on. Raises BadFrameIndex where the first of them are gone."""
        if self._newest_gone >= number:
            raise BadFrameIndex("the history went on faster than the catch-up. Prompt a newer frame, or open the video with more history.")
        return [kept for kept in self._entries if kept.number >= number]

    def _bound(self) -> None:
        """Gives up what is too old or too much."""
        self._thin()
        now = self.clock()
        while (cut := self._oldest_state()) and (not self._whole or now - cut.at > self.seconds or self.nbytes > self._limit):
            self._cut(cut)
        if self.nbytes > self._limit:
            self.forget()

    def _oldest_state(self) -> Kept | None:
        """The oldest entry with a snapshot, where all up to it is answered."""
        for kept in self._entries:
            if not kept.answered:
                return None
            if kept.state is not None:
                return kept
        return None

    def _cut(self, last: Kept) -> None:
        """Gives up everything up to an entry, whose snapshot is the base now."""
        self.nbytes -= len(self._base or b"")
        while True:
            kept = self._entries.popleft()
            self.nbytes -= kept.operation.nbytes
            if kept is last:
                break
            self.nbytes -= len(kept.state or b"")
        self._base, self._whole, self._newest_gone = last.state, True, last.number

    def _thin(self) -> None:
        """Gives up snapshots that are old, but for one in so many frames."""
        now, frames = self.clock(), 0
        for kept in self._entries:
            frames += kept.operation.is_frame
            if kept.state is not None and now - kept.at > OLD_S and frames < EVERY_OLD:
                self.keep(kept, None)
            elif kept.state is not None:
                frames = 0

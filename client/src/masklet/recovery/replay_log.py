"""What a video is made of: a snapshot, and what was asked since."""

from __future__ import annotations

import time
from dataclasses import replace

from masklet.connection.operations import Operation, restoring
from masklet.connection.pending import PendingResult
from masklet.results import TrackedFrame


class Entry:
    """An operation that the caller asked for, and what became of it. It keeps no result: masks are large.

    pending      the caller's; None once it has its outcome
    frame_index  that it was answered with
    losses       servers that were lost while they had it in hand
    """

    def __init__(self, operation: Operation, *, snapshot: bool = False) -> None:
        self.operation = replace(operation, options=replace(operation.options, snapshot=True)) if snapshot else operation
        self.pending: PendingResult | None = PendingResult(operation.without_tensors())
        self.asked = time.monotonic()
        self.frame_index: int | None = None
        self.losses = 0

    @classmethod
    def own(cls, operation: Operation) -> Entry:
        """An operation that no caller waits for."""
        entry = cls(operation)
        entry.pending = None
        return entry

    @property
    def answered(self) -> bool:
        """Whether the caller has its outcome."""
        return self.pending is None

    @property
    def replayed(self) -> bool:
        """Whether it is a frame that was answered, so that to send it once more is a replay."""
        return self.answered and self.operation.is_frame

    def give(self, outcome: TrackedFrame | Exception) -> None:
        """Tells the caller; what was told before is not told again."""
        if self.pending is None:
            return
        if isinstance(outcome, TrackedFrame):
            self.frame_index = outcome.frame_index
            outcome = outcome if self.pending.operation.options.snapshot else replace(outcome, snapshot=None)
        self.pending.outcome = outcome
        self.pending = None


class ReplayLog:
    """The newest snapshot and the entries after it, in order: together they give the video on any server.

    state        the snapshot; None before the first
    frame_index  of the frame after which it was taken; None before the first frame
    """

    def __init__(self, snapshot_every: int) -> None:
        self.state: bytes | None = None
        self.frame_index: int | None = None
        self.entries: list[Entry] = []
        self._every = snapshot_every

    def due(self, soon: bool) -> bool:
        """Whether the next frame is to bring a snapshot. `soon`: whatever their number, one is wanted."""
        asked = any(entry.operation.options.snapshot for entry in self.entries)
        return not asked and (soon or len(self.entries) + 1 >= self._every)

    def rebase(self, entry: Entry, result: TrackedFrame) -> bool:
        """Goes on from the snapshot in an answer, unless a newer one is kept, or an earlier entry has no answer yet. Whether it does."""
        if entry not in self.entries:
            return False
        count = self.entries.index(entry) + 1
        if any(not earlier.answered for earlier in self.entries[: count - 1]):
            return False
        self.state = result.snapshot
        self.frame_index = result.frame_index if result.frame_index >= 0 else None
        del self.entries[:count]
        return True

    def save_before(self, entry: Entry) -> bool:
        """Has the entry before this one bring a snapshot when it is sent again, so that after it this one is the first. False: it is the first."""
        if entry not in self.entries[1:]:
            return False
        before = self.entries[self.entries.index(entry) - 1]
        before.operation = replace(before.operation, options=replace(before.operation.options, snapshot=True))
        return True

    def drop(self, entry: Entry) -> None:
        """Forgets an entry that changed nothing."""
        if entry in self.entries:
            self.entries.remove(entry)

    def replay(self) -> list[Entry]:
        """What gives the video on another server."""
        restore = [Entry.own(restoring(self.state))] if self.state else []
        return [*restore, *self.entries]

    def oldest(self) -> Entry | None:
        """The oldest entry that somebody waits for."""
        return next((entry for entry in self.entries if not entry.answered), None)

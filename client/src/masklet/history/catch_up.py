"""Replays the log of a video on a branch, with what a rewind changes, until there is nothing left to replay."""

from __future__ import annotations

import logging
import time
from collections import deque
from dataclasses import dataclass, replace

from masklet.connection import operations
from masklet.connection.connection import SessionConnection
from masklet.connection.pending import PendingResult
from masklet.errors import ServerFault, UnknownObject, VideoLost
from masklet.history.edit import Replayed, as_asked, edited, with_edits
from masklet.history.head import Head
from masklet.history.log import Kept, Log
from masklet.history.pace import Pace
from masklet.history.rewind import Journey
from masklet.results import TrackedFrame, together

_ON_WAY = 4  # frames sent to the branch and not answered: as with `track_many`, a few keep the server busy
_NEAR = 4  # frames that are left to replay, at which the live video waits for the branch

log = logging.getLogger("masklet")


@dataclass(frozen=True)
class Step:
    """What the branch was sent of an entry. `removed`: it is a removal, of an object that may be unknown; `skipped`: frames left out before."""

    kept: Kept
    pending: list[PendingResult]
    removed: bool | None = None
    skipped: int = 0


class CatchUp:
    """One try to bring a branch to where the video is.

    results  of the frames that were tracked again, from that of the journey on
    states   the snapshots that came with them
    skipped  frames that were left out
    """

    def __init__(self, live: Head, log: Log, journey: Journey, branch: SessionConnection) -> None:
        self.results: list[TrackedFrame] = []
        self.states: dict[Kept, bytes | None] = {}
        self.skipped: set[Kept] = set()
        self._live, self._log, self._journey, self._branch = live, log, journey, branch
        self._on_way: deque[Step] = deque()
        self._parts: list[TrackedFrame] = []
        self._left_out = 0  # frames since the last one that was sent
        self._unseen = 0  # frames left out before the next result
        self._next = 0
        branch.session.operations = Replayed()

    async def begin(self, kept: Kept) -> None:
        """The branch begins. `kept`: the frame of the journey. Raises what the server says against it, and VideoLost when the video is closed."""
        with self._live.lock:
            self._next, state = self._log.before(kept)
            self._first, self._began = kept.number, self._log.count
        if state is not None:
            await self._outcome(self._branch.restore(state))
            self._live.advanced()
        self._pace = Pace(self._log.seconds, self._log.clock)

    async def run(self) -> None:
        """Replays everything there is. Raises what the server says against it, and VideoLost when the video is closed."""
        while await self._sent_more() or self._on_way:
            if self._on_way:
                await self._take()

    @property
    def there(self) -> bool:
        """Whether everything was replayed, and nothing more comes."""
        return self._live.holding and not self._on_way and not self._log.after(self._next)

    async def _sent_more(self) -> bool:
        """Sends what may be sent now. False: there is nothing left to replay."""
        while len(self._on_way) < _ON_WAY:
            with self._live.lock:
                left = self._log.after(self._next)
            if not self._live.holding and sum(kept.answered for kept in left) <= _NEAR and self._live.hold():
                continue
            if not left:
                return False
            if not left[0].answered:  # its answer says whether it is part of the video
                if self._on_way:
                    return True
                await self._live.answered(left[0])
                self._check()
                continue
            self._next = left[0].number + 1
            self._send(left[0], left)
        return True

    def _send(self, kept: Kept, left: list[Kept]) -> None:
        if kept.rest_of is not None and self._journey.edits(kept.rest_of):
            return  # its prompts went with those of the edit
        if self._to_skip(kept, left):
            self.skipped.add(kept)
            self._left_out += 1
            return
        state = kept.number >= self._first and kept.state is not None
        edits = self._journey.edits(kept)
        if not edits:
            again = as_asked(kept, shown=kept.number >= self._first, state=state or (kept.wants_state and kept.number >= self._first))
            removed = None if kept.operation.is_frame else True  # as it would have been in time: an error that changes nothing
            self._on_way.append(Step(kept, [self._branch.operation(again)], removed, self._left_out))
            self._left_out = 0
            return
        with self._live.lock:
            parts = self._log.parts(kept)
        items, removals = with_edits([item for part in parts for item in part.operation.items], edits)
        for object_id, dropped in removals.items():
            self._on_way.append(Step(kept, [self._branch.operation(operations.removal(object_id))], dropped))
        made = edited(parts, items.values(), state=state or kept.wants_state)
        self._on_way.append(Step(kept, [self._branch.operation(operation) for operation in made], skipped=self._left_out))
        self._left_out = 0

    async def _take(self) -> None:
        """The answer of the oldest that is on its way."""
        step = self._on_way[0]
        outcomes = []
        for pending in step.pending:
            try:
                outcomes.append(await self._outcome(pending))
            except UnknownObject:
                if not step.removed:
                    raise
        self._on_way.popleft()
        self._unseen += step.skipped
        if step.removed is not None:
            return
        *parts, last = outcomes
        if last.frame_index != step.kept.frame_index:
            raise ServerFault(f"the server tracked frame {step.kept.frame_index} again, but as frame {last.frame_index}.")
        self._pace.replayed()
        self._live.advanced()
        if step.kept.number >= self._first:
            self.states[step.kept] = last.snapshot
            earlier = self._parts if step.kept.rest_of else []
            self._show(step.kept, [*earlier, *parts], last, more=step.pending[-1].operation.more)

    def _show(self, kept: Kept, parts: list[TrackedFrame], last: TrackedFrame, *, more: bool) -> None:
        """Keeps the result of a frame. `more`: it has further prompts, whose answer is its result."""
        self._parts = [*parts, last] if more else []
        if more:
            return
        result = together(parts, last)
        head = kept.rest_of or kept
        age_s = None if head.arrived_s is None else time.monotonic() - head.arrived_s
        snapshot = last.snapshot if kept.wants_state else None
        skipped, self._unseen = self._unseen, 0
        known = {"frame": head.frame, "tag": head.tag, "age_s": age_s}
        self.results.append(replace(result, label="replayed", skipped=skipped, snapshot=snapshot, **known))

    def _to_skip(self, kept: Kept, left: list[Kept]) -> bool:
        """Whether a frame is to be left out, for the branch to get to where the camera is."""
        options = kept.operation.options
        follows = left[1] if len(left) > 1 else None
        plain = kept.is_visit and options.track and not kept.operation.items and not kept.operation.more and kept.state is None
        if not plain or kept.number <= self._first or self._live.holding or not self._live.of_camera or self._journey.edits(kept):
            return False
        if follows is None or follows.operation.options.refine or follows.rest_of is not None:
            return False
        arrived = self._log.count - self._began
        stride = self._pace.stride(len(left), arrived)
        if stride > 1 and not self.skipped:
            replayed, live = self._pace.rates(arrived)
            log.warning(
                "the server tracks %.3g frames/s again while %.3g frames/s come from the camera, and %d are left: after the rewind to frame %d only "
                "every %d. frame or so is tracked again",
                *(replayed, live, len(left), self._journey.frame_index, stride),
            )
        return self._left_out + 1 < stride

    async def _outcome(self, pending: PendingResult) -> TrackedFrame:
        await self._branch.settle(pending, unless=lambda: self._live.stopping)
        self._check()
        return pending.result()

    def _check(self) -> None:
        if self._live.stopping:
            raise VideoLost("this video was closed before its frames were tracked again.")

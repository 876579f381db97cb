"""Rewinds of one video, and what takes them back: one after another, each on a branch that takes over."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from contextlib import suppress

from masklet.concurrency.protocol import Concurrency, Condition
from masklet.connection.connection import SessionConnection
from masklet.errors import BadFrameIndex, BadRequest, MaskletError, ServerBusy, VideoLost
from masklet.history.catch_up import CatchUp
from masklet.history.edit import with_edits
from masklet.history.head import Head
from masklet.history.log import Kept, Log
from masklet.history.rewind import Journey
from masklet.prompts import Item
from masklet.results import TrackedFrame

log = logging.getLogger("masklet")


class Journeys:
    """Those that are asked for and not made yet, and those that can be taken back. Several threads may use it.

    open_branch  connects another video
    tell         is called with the results of each, and once more with none when the last is made
    """

    def __init__(
        self,
        head: Head,
        history: Log,
        open_branch: Callable[[], SessionConnection],
        tell: Callable[[list[TrackedFrame]], None],
        concurrency: Concurrency,
        changed: Condition,
    ) -> None:
        self._head, self._log, self._open_branch, self._tell = head, history, open_branch, tell
        self._concurrency, self._changed = concurrency, changed
        self._waiting: deque[Journey] = deque()
        self._rewinds: list[Journey] = []  # that can be taken back, the newest last
        self.under_way = False

    def begin(self, frame_index: int) -> tuple[Journey, list[Item]]:
        """A rewind to a frame, and the prompts that this has. Raises BadFrameIndex and VideoLost."""
        with self._head.lock:
            self._look()
            kept = self._log.find(frame_index)
            items = [item for part in self._log.parts(kept) for item in part.operation.items]
            return Journey(kept, None, self._changed), [*with_edits(items, kept.edits)[0].values()]

    def start(self, journey: Journey) -> None:
        """Makes a rewind, after those that are under way. Raises VideoLost."""
        with self._head.lock:
            self._look()
            self._rewinds.append(journey)
            self._add(journey)

    def undo(self) -> Journey:
        """Takes the newest rewind back. Raises BadRequest where there is none, BadFrameIndex where it lies too far back, and VideoLost."""
        with self._head.lock:
            self._look()
            if not self._rewinds:
                raise BadRequest("there is no rewind to take back.")
            newest = self._rewinds[-1]
            kept = newest.kept
            if kept is None or not self._log.reaches(kept):
                raise BadFrameIndex(f"the newest rewind cannot be taken back: its frame {newest.frame_index} is no longer in the history.")
            journey = Journey(kept, newest, self._changed)
            self._rewinds.pop()
            self._add(journey)
            return journey

    def _look(self) -> None:
        self._head.connection.session.check()
        self._head.refresh()

    def _add(self, journey: Journey) -> None:
        self._waiting.append(journey)
        if not self.under_way:
            self.under_way = True
            self._concurrency.spawn(self._travel)

    async def _travel(self) -> None:
        """Makes one journey after another."""
        while journey := self._next():
            try:
                await self._make(journey)
            except BaseException as error:
                self._failed(journey, error)
                if not isinstance(error, Exception):
                    raise
            finally:
                with self._head.lock:
                    self._waiting.popleft()
        self._tell([])

    def _next(self) -> Journey | None:
        with self._head.lock:
            self.under_way = bool(self._waiting)
            return self._waiting[0] if self._waiting else None

    async def _make(self, journey: Journey) -> None:
        if journey.undoes and isinstance(journey.undoes.outcome, BaseException):  # it never was
            journey.finish([])
            return
        if (kept := journey.kept) is None:
            raise BadFrameIndex(f"frame {journey.frame_index} cannot be reached any more: the history went on meanwhile. Prompt a newer frame.")
        branch = self._open_branch()
        self._head.follow(branch)
        try:
            catch_up = CatchUp(self._head, self._log, journey, branch)
            await catch_up.begin(kept)
            while not self._took_over(journey, kept, catch_up):
                await catch_up.run()
                await self._head.settle_all()
        except BaseException:
            self._head.follow(None)
            self._leave(branch)
            raise

    def _took_over(self, journey: Journey, kept: Kept, catch_up: CatchUp) -> bool:
        """The video goes on over the branch, if that is there."""
        with self._head.lock:
            self._head.connection.session.check()
            if not catch_up.there:
                return False
            kept.edits = journey.edits(kept)
            for one in self._log:
                if one.number >= kept.number:
                    self._log.keep(one, catch_up.states.get(one))
                    one.skipped = one in catch_up.skipped
            old = self._head.switch()
            self._tell(catch_up.results)
        journey.finish(catch_up.results)
        self._leave(old)
        return True

    def _leave(self, connection: SessionConnection) -> None:
        """Ends a video that is no longer needed; nobody waits for that but `close`."""

        async def ended() -> None:
            with suppress(MaskletError):  # the server frees it by itself, after a while
                await connection.close()

        self._concurrency.spawn(ended)

    def _failed(self, journey: Journey, error: BaseException) -> None:
        """The video goes on as it was."""
        if isinstance(error, VideoLost) and isinstance(error.__cause__, ServerBusy):  # of a resilient one that has waited for room
            error = error.__cause__
        with self._head.lock:
            if journey.undoes:
                self._rewinds.append(journey.undoes)
            elif journey in self._rewinds:
                self._rewinds.remove(journey)
        if not journey.waited and not self._head.stopping:
            log.warning("the rewind to frame %d failed, and the video goes on without it: %s", journey.frame_index, error)
        journey.finish(error)

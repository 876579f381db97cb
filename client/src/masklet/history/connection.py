"""A video that can go back: the connection that keeps what goes over it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from masklet.concurrency.protocol import Concurrency
from masklet.connection.connection import Connection, SessionConnection, never
from masklet.connection.interruption import Interruption
from masklet.connection.operations import removal, restoring, snapshot
from masklet.connection.pending import PendingResult
from masklet.errors import VideoLost
from masklet.history.head import Head
from masklet.history.journeys import Journeys
from masklet.history.log import Kept, Log
from masklet.pixels import FrameLike, Sendable
from masklet.results import TrackedFrame
from masklet.sources.frame import Frame


class HistoryConnection(Connection):
    """See `Connection`.

    open_head, open_branch  connect a video, each with a concurrency of its own
    """

    def __init__(
        self, open_head: Callable[[], SessionConnection], open_branch: Callable[[], SessionConnection], history: Log, concurrency: Concurrency
    ) -> None:
        super().__init__(concurrency)
        changed = concurrency.condition()
        self._log = history
        self._head = Head(open_head(), history, self._lock, changed)
        self.journeys = Journeys(self._head, history, open_branch, self._told, concurrency, changed)
        self._newest: Kept | None = None  # frame that was asked for

    @property
    def video_id(self) -> int | str:
        """See `Connection`."""
        return self._head.connection.video_id

    @property
    def interruptions(self) -> Sequence[Interruption]:
        """See `Connection`."""
        with self._lock:
            return (*self._head.earlier, *self._head.connection.interruptions)

    @property
    def catching_up(self) -> bool:
        """See `Connection`."""
        return self.journeys.under_way

    def prompt(self, object_id: int, **prompt: Any) -> None:
        """See `Connection`."""
        self._head.connection.prompt(object_id, **prompt)

    def drop(self, object_id: int) -> bool:
        """See `Connection`."""
        return self._head.connection.drop(object_id)

    def frame(self, frame: Sendable, *, rest: bool = False, **options: Any) -> PendingResult:
        """See `Connection`. Pixels are copied: the caller may use the array again, and a replay needs them as they were."""
        with self._lock:
            self._head.connection.session.check()
            operation = self._head.operations.frame(frame.copy() if isinstance(frame, np.ndarray) else frame, rest=rest, **options)
            kept = Kept(operation, self._log.clock(), wants_state=operation.options.snapshot, rest_of=self._newest if rest else None)
            self._newest = self._newest if rest else kept
            return self._head.ask(operation, lambda on: on.operation(kept.operation), kept)

    def note(self, pending: PendingResult, frame: FrameLike, tag: Any) -> None:
        """See `Connection`."""
        with self._lock:
            if (kept := self._head.entry(pending)) is None:
                return
            pixels = kept.pixels
            kept.frame, kept.tag, kept.arrived_s = pixels, tag, None
            if isinstance(frame, Frame) and isinstance(pixels, np.ndarray):
                kept.frame, kept.arrived_s = replace(frame, image=pixels), frame.arrived_s
            self._head.of_camera = kept.arrived_s is not None

    def restore(self, state: bytes) -> PendingResult:
        """See `Connection`."""
        operation = restoring(state)
        with self._lock:
            self._log.begin(bytes(state))
            return self._head.ask(operation, lambda on: on.restore(state), None)

    def remove(self, object_id: int) -> PendingResult:
        """See `Connection`."""
        operation = removal(object_id)
        return self._head.ask(operation, lambda on: on.remove(object_id), Kept(operation, self._log.clock()))

    def snapshot(self) -> PendingResult:
        """See `Connection`."""
        return self._head.ask(snapshot(), lambda on: on.snapshot(), None)

    async def settle(self, pending: PendingResult, unless: Callable[[], bool] = never) -> None:
        """See `Connection`."""
        await self._head.settle(pending, unless)

    async def rest(self, until: Callable[[], object]) -> None:
        """See `Connection`."""
        await self._head.rest(until)

    async def settled(self, pending: PendingResult) -> bool:
        """See `Connection`."""
        return await self._head.settled(pending)

    def wake(self) -> None:
        """See `Connection`."""
        self._head.wake()
        for connection in (self._head.connection, self._head.branch):
            if connection:
                connection.wake()

    async def keep_alive(self, for_s: float) -> None:
        """See `Connection`."""
        await self._head.connection.keep_alive(for_s)

    async def close(self) -> None:
        """See `Connection`. Ends what is under way, first."""
        self._head.stopping = True
        self.wake()
        try:
            await self._concurrency.join()
            await self._concurrency.join()  # what ended may have begun to close a connection
        finally:
            self._head.release(VideoLost("this video was closed before the request was sent."))
            await self._head.connection.close()

    def _told(self, results: list[TrackedFrame]) -> None:
        """Results of frames that were tracked again."""
        if self.followed:
            self.replayed.extend(results)
        self.wake()

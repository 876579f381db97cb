"""Live sources: the newest frame wins, and results are handed out when they come."""

from __future__ import annotations

import logging
import time
import weakref
from collections.abc import AsyncIterable, Iterable, Mapping
from dataclasses import replace
from typing import Any

from masklet.concurrency.protocol import Concurrency
from masklet.connection.connection import Connection
from masklet.connection.flow import Flow
from masklet.connection.frame_call import FrameCall, FrameCalls
from masklet.connection.in_flight import FramesInFlight
from masklet.pixels import FrameLike
from masklet.results import Label, TrackedFrame

log = logging.getLogger("masklet")

_IN_FLIGHT = 4  # of sources that are not live
_MARGIN = 0.8  # of the deadline, below which it is said to be kept again


class FollowedFrames(FramesInFlight):
    """The iterator of `Video.follow`. Raises ValueError.

    source       live where its attribute `live` says so; then its frames are those of `masklet.sources`
    deadline_s, max_age_s  see `Video.follow`
    options      of every frame, as in `Video.track`
    """

    def __init__(
        self,
        connection: Connection,
        calls: FrameCalls,
        concurrency: Concurrency,
        source: Iterable[FrameLike] | AsyncIterable[FrameLike],
        options: Mapping[str, Any],
        deadline_s: float | None,
        max_age_s: float | None,
    ) -> None:
        for name, value in (("deadline_s", deadline_s), ("max_age_s", max_age_s)):
            if value is not None and not value > 0:
                raise ValueError(f"{name} is in seconds and must be above 0, got {value}.")
        super().__init__(connection, calls, concurrency, source, _IN_FLIGHT, options, skip_damaged=True)
        self._flow = Flow(deadline_s) if getattr(source, "live", False) else None
        self._deadline_s = deadline_s
        connection.followed += 1
        weakref.finalize(self, _leave, connection).atexit = False
        self._max_age_s = deadline_s if max_age_s is None else max_age_s
        self._sent: set[FrameCall] = set()
        self._unwatched = False  # the caller was away: an answer that is there now may have come long ago
        self._sending = 0.0  # when the newest frame was sent
        self._before: int | None = None  # index of the newest frame that has a result
        self._timed: float | None = None  # when somebody will look again, `time.monotonic()`
        self._beyond = False  # the deadline cannot be kept, and it was said

    async def __anext__(self) -> TrackedFrame:
        replayed, self._unwatched = self._connection.replayed, True
        while not replayed:
            try:
                if (result := await self._step()) is not None:
                    return result
                self._unwatched = False
            except StopAsyncIteration:
                if not self._connection.catching_up and not replayed:
                    raise
                await self._connection.rest(lambda: replayed or not self._connection.catching_up)
        return replayed.popleft()

    @property
    def _wants(self) -> bool:
        if self._flow is None:
            return super()._wants
        due = self._flow.due
        if due is None or self._taken or not self._more:
            return False
        wait_s = due - time.monotonic()
        if wait_s > 0 and due != self._timed:
            self._timed = due
            self._concurrency.call_later(wait_s, self._connection.wake)
        return wait_s <= 0

    def _has_news(self) -> bool:
        due = self._flow.due if self._flow and self._more and not self._puller.asked else None
        return super()._has_news() or bool(self._connection.replayed) or (due is not None and due <= time.monotonic())

    def _admit(self, frame: FrameLike) -> bool:
        """A frame whose answer would come too late gives way to the next."""
        self._sending = time.monotonic()
        arrived_s = getattr(frame, "arrived_s", None)
        if self._flow is None or arrived_s is None or self._flow.beyond:
            return True
        return self._flow.in_time(arrived_s, self._sending)

    def _is_sent(self, call: FrameCall) -> None:
        if self._flow:
            self._sent.add(call)
            self._flow.sent(self._sending)

    def _is_settled(self, call: FrameCall) -> None:
        if self._flow is None or call not in self._sent:  # it never became a request
            return
        self._sent.remove(call)
        self._flow.answered(time.monotonic(), unwatched=self._unwatched)
        if self._flow.beyond != self._beyond and self._flow.answer_s is not None and self._deadline_s is not None:
            self._say_beyond(self._flow.answer_s, self._deadline_s)

    def _told(self, call: FrameCall, result: TrackedFrame) -> TrackedFrame:
        arrived_s, before, self._before = getattr(result.frame, "arrived_s", None), self._before, result.frame_index
        if self._flow is None or arrived_s is None:
            return result
        age_s = time.monotonic() - arrived_s
        skipped = 0 if before is None else max(0, result.frame_index - before - 1)
        label: Label = "skipped" if skipped else "live"
        if self._max_age_s is not None and age_s > self._max_age_s:
            label = "stale"
        return replace(result, label=label, skipped=skipped, age_s=age_s)

    def _say_beyond(self, answer_s: float, deadline_s: float) -> None:
        """Says once that the deadline cannot be kept, and once that it can again, by a margin."""
        if not self._beyond:
            self._beyond = True
            log.warning(
                "the server takes %.3f s for a frame, so the deadline of %.3f s cannot be kept: frames are tracked one at a time, and their results "
                "are stale. Give a longer deadline, fewer objects, smaller frames, or another server.",
                answer_s,
                deadline_s,
            )
        elif answer_s < _MARGIN * deadline_s:
            self._beyond = False
            log.warning("the server takes %.3f s for a frame now: the deadline of %.3f s is kept again.", answer_s, deadline_s)


def _leave(connection: Connection) -> None:
    connection.followed -= 1

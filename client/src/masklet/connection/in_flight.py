"""Several frames of one video on their way at a time."""

from __future__ import annotations

import logging
import weakref
from collections import deque
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Mapping
from typing import Any

from masklet.concurrency.protocol import Concurrency
from masklet.connection.connection import Connection, never
from masklet.connection.frame_call import FrameCall, FrameCalls
from masklet.errors import BadFrame, RequestError, VideoLost
from masklet.pixels import FrameLike
from masklet.results import TrackedFrame

_MOST = 64

log = logging.getLogger("masklet")


class FramesInFlight(AsyncIterator[TrackedFrame]):
    """The iterator of `Video.track_many`: frames are taken and sent, in order, while the oldest result is waited for. Raises ValueError.

    options       of every frame, as in `Video.track`
    skip_damaged  see `Video.track_many`
    """

    def __init__(
        self,
        connection: Connection,
        calls: FrameCalls,
        concurrency: Concurrency,
        frames: Iterable[FrameLike] | AsyncIterable[FrameLike],
        in_flight: int,
        options: Mapping[str, Any],
        skip_damaged: bool,
    ) -> None:
        if not 1 <= in_flight <= _MOST:
            advice = "The server holds every frame that is on its way; a few keep it busy."
            raise ValueError(f"in_flight must be at least 1 and at most {_MOST}, got {in_flight}. {advice}")
        self._connection = connection
        self._calls = calls
        self._concurrency = concurrency
        self._in_flight = in_flight
        self._options = options
        self._skip_damaged = skip_damaged
        self._settled = 0  # frames, in order
        self._any = False  # result was given
        self._pending: deque[FrameCall] = deque()
        self._taken: list[FrameLike] = []  # one that was taken and not sent, or none
        self._more = True  # `frames` may have some
        self._puller = concurrency.puller(frames, connection.wake)
        weakref.finalize(self, self._puller.stop).atexit = False

    async def __anext__(self) -> TrackedFrame:
        while (result := await self._step()) is None:
            pass
        return result

    async def _step(self) -> TrackedFrame | None:
        """Sends the frame that was taken, and gives the oldest result if it is there; else waits for either."""
        self._concurrency.check()
        self._send_taken()
        oldest = self._pending[0] if self._pending else None
        if oldest and await self._connection.settled(oldest.pending):
            self._calls.go_on(oldest)
            return self._settle(oldest) if oldest.done else None
        blocked = self._calls.blocked
        if oldest is None and (blocked or self._taken):  # by the frame of another call
            await self._calls.unblock()
            return None
        wants = self._wants and not blocked  # `frames` may give prompts and more to the video: not before the last one is sent whole
        if wants:
            self._puller.ask()
        elif oldest is None and not self._more:
            raise StopAsyncIteration
        if oldest is None and self._connection.closed:
            raise VideoLost("this video is closed. Open a new one.")
        if oldest is None:
            await self._connection.rest(self._has_news)
        else:
            await self._connection.settle(oldest.pending, unless=never if blocked else self._has_news)
        return None

    def _settle(self, call: FrameCall) -> TrackedFrame | None:
        """Hands out the oldest result. None: it was damaged, and is skipped."""
        self._pending.popleft()  # not before: a wait that is interrupted loses no result
        self._settled += 1
        self._is_settled(call)
        if self._is_damaged(call):
            log.warning("frame %d of those given to track_many is skipped: %s", self._settled - 1, call.pending.outcome)
            return None
        result = self._calls.result(call)
        self._any = True
        return self._told(call, result)

    def _admit(self, frame: FrameLike) -> bool:
        """Whether a frame that was taken is to be sent."""
        return True

    def _is_sent(self, call: FrameCall) -> None:
        """A frame was sent."""

    def _is_settled(self, call: FrameCall) -> None:
        """A frame has its outcome."""

    def _told(self, call: FrameCall, result: TrackedFrame) -> TrackedFrame:
        """The result as it is handed out."""
        return result

    def _is_damaged(self, call: FrameCall) -> bool:
        """Whether a file that came behind good ones was refused. Where none was good, it is no damage but a mistake."""
        return self._skip_damaged and self._any and call.is_file and isinstance(call.pending.outcome, BadFrame)

    @property
    def _wants(self) -> bool:
        """Whether a frame is to be taken: while the oldest result is waited for, and not too many are on their way."""
        return self._more and len(self._pending) < self._in_flight and not self._taken

    def _has_news(self) -> bool:
        """Whether there is something else to do than to wait for the oldest result."""
        return self._puller.ready or self._connection.closed

    def _send_taken(self) -> None:
        """Sends the frame that was taken, if there is one. Errors come in its place, behind the results of the frames before."""
        if self._puller.ready:
            try:
                self._taken.append(self._puller.take())
            except StopIteration:
                self._more = False
            except BaseException as error:
                self._pending.append(FrameCall.failed(error))
                self._more = False
        if self._taken and not self._admit(self._taken[0]):
            self._taken.clear()
        if not self._taken:
            return
        try:
            call = self._calls.send(self._taken[0], **self._options)
        except Exception as error:
            call = FrameCall.failed(error)
            self._more = isinstance(error, RequestError)
        if call:
            self._taken.clear()
            self._pending.append(call)
            self._is_sent(call)

"""Frames of a caller: sent, with all their prompts, and their results with what the caller knows of them."""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import Any

import numpy as np

from masklet.connection.connection import Connection
from masklet.connection.pending import PendingResult, failed
from masklet.pixels import FrameLike, Sendable, index_of, sendable
from masklet.results import TrackedFrame, together
from masklet.vanished import warning


class FrameCall:
    """A frame that was sent. Where its prompts are more than one request takes it is sent again with the rest, once the server has answered.

    pending            of what was sent last
    tag, bgr, options  see `Video.track`

    Raises what `Connection.frame` raises, and BadFrame.
    """

    def __init__(self, connection: Connection, frame: FrameLike, *, bgr: bool = False, tag: Any = None, **options: Any) -> None:
        if options.get("frame_index") is None:
            options["frame_index"] = index_of(frame)
        self._connection, self._options = connection, options
        self._frame, self._tag = frame, tag
        self._sent: Sendable = sendable(frame, bgr=bgr)
        self._parts: list[TrackedFrame] = []  # the answers to all requests but the last
        self.pending: PendingResult = connection.frame(self._sent, **options)
        connection.note(self.pending, frame, tag)
        if self.unfinished:  # the caller may use its array again
            self._sent = self._sent.copy() if isinstance(self._sent, np.ndarray) else bytes(self._sent)

    @classmethod
    def failed(cls, error: BaseException) -> FrameCall:
        """One whose frame never became a request."""
        call = cls.__new__(cls)
        call._sent = np.empty(0, np.uint8)
        call.pending = failed(error)
        return call

    @property
    def is_file(self) -> bool:
        """Whether the frame is the bytes of a file."""
        return not isinstance(self._sent, np.ndarray)

    @property
    def unfinished(self) -> bool:
        """Whether there is more to send, once the server has taken what was sent."""
        pending = self.pending
        return pending.operation.more and not isinstance(pending.outcome, BaseException)

    @property
    def done(self) -> bool:
        """Whether it has its outcome: the answer to all of it, or an error."""
        pending = self.pending
        return isinstance(pending.outcome, BaseException) or (pending.outcome is not None and not pending.operation.more)

    def go_on(self) -> None:
        """Sends more of it if the server has taken what was sent. An error is its outcome."""
        answer = self.pending.outcome
        if not self.unfinished or not isinstance(answer, TrackedFrame):
            return
        try:
            pending = self._connection.frame(self._sent, rest=True, **{**self._options, "frame_index": answer.frame_index})
        except Exception as error:
            self.pending = failed(error)
        else:
            self._parts.append(answer)
            self.pending = pending  # last: from here on another thread may find it done

    def result(self) -> TrackedFrame:
        """The outcome; an error is raised."""
        last = self.pending.result()
        return replace(together(self._parts, last), frame=self._frame, tag=self._tag)


class FrameCalls:
    """The frames of one video: each is sent whole before the next. Several threads may use it."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._lock = threading.Lock()
        self._newest: FrameCall | None = None
        self._told: set[int] = set()

    @property
    def blocked(self) -> bool:
        """Whether the newest frame has more to send."""
        return self._newest is not None and self._newest.unfinished

    def send(self, frame: FrameLike, **options: Any) -> FrameCall | None:
        """Sends a frame; None while that is blocked."""
        with self._lock:
            if self.blocked:
                return None
            self._newest = FrameCall(self._connection, frame, **options)
            return self._newest

    async def unblock(self) -> None:
        """Waits until the newest frame is sent whole."""
        while (newest := self._newest) and newest.unfinished:
            await self._connection.settle(newest.pending)
            self.go_on(newest)

    def go_on(self, call: FrameCall) -> None:
        """Sends more of a frame, if it has more and the server has taken what was sent."""
        with self._lock:
            call.go_on()

    async def finish(self, call: FrameCall) -> TrackedFrame:
        """Waits for the outcome of a frame; see `result`."""
        while not call.done:
            await self._connection.settle(call.pending)
            self.go_on(call)
        return self.result(call)

    def result(self, call: FrameCall) -> TrackedFrame:
        """The outcome of a frame; an error is raised. Warns of objects that vanished, once of each."""
        with self._lock:
            if self._newest is call:  # not kept: an error that was raised holds on to who waited for it, such as the iterator of `track_many`
                self._newest = None
        result = call.result()
        for object_id in set(result.vanished) - self._told:
            self._told.add(object_id)
            warning(result, object_id)
        return result

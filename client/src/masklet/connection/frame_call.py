"""One frame of a caller: sent, and its result with what the caller knows of it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from masklet.connection.connection import Connection
from masklet.connection.pending import PendingResult, failed
from masklet.pixels import FrameLike, index_of, sendable
from masklet.results import TrackedFrame


class FrameCall:
    """A frame that was sent; `pending` gets the outcome.

    tag, bgr, options  see `Video.track`

    Raises what `Connection.frame` raises, and BadFrame.
    """

    def __init__(self, connection: Connection, frame: FrameLike, *, bgr: bool = False, tag: Any = None, **options: Any) -> None:
        if options.get("frame_index") is None:
            options["frame_index"] = index_of(frame)
        self._frame, self._tag = frame, tag
        self.pending: PendingResult = connection.frame(sendable(frame, bgr=bgr), **options)

    @classmethod
    def failed(cls, error: BaseException) -> FrameCall:
        """One whose frame never became a request."""
        call = cls.__new__(cls)
        call.pending = failed(error)
        return call

    def result(self) -> TrackedFrame:
        """The outcome; an error is raised."""
        return replace(self.pending.result(), frame=self._frame, tag=self._tag)

"""What can go wrong, as exceptions.

    MaskletError
    ├── RequestError            the request was wrong; nothing changed and the video goes on
    │   ├── BadRequest          neither a frame nor a command, or both kinds of frame
    │   ├── BadFrame            the frame cannot be decoded or has an unusable shape
    │   ├── FrameTooLarge       the frame is over the server's limits
    │   ├── BadPrompt           the prompts are not valid
    │   ├── BadParameter        a request parameter is unknown or not valid
    │   ├── BadFrameIndex       the frame index breaks the direction of travel
    │   ├── BadState            the snapshot is damaged or belongs to another server
    │   ├── UnknownObject       no such object in this video
    │   ├── TooManyObjects      over the server's limit of objects per video
    │   ├── TooManyPoints       over the server's limit of points per prompt
    │   ├── BadVideoId          the correlation id is 0, empty or too long
    │   └── NotOwner            another client owns the video of this id
    ├── VideoLost               the server no longer holds this video: open a new one
    ├── ServerBusy              the server takes no further video now: retry later or elsewhere
    ├── ServerUnavailable       no server answers at this address
    └── ServerFault             the server failed inside; the message says how

On the wire an error is `MASKLET_<CODE>: what happened. What to do.`; `code` is stable, the text is for people.
"""

from __future__ import annotations


class MaskletError(Exception):
    """Base of all errors of this package."""

    code = "ERROR"

    def wire(self) -> str:
        """The error as it crosses the wire."""
        return f"MASKLET_{self.code}: {self}"


class RequestError(MaskletError):
    """The request was wrong. Nothing changed; the video goes on."""

    code = "REQUEST_ERROR"


class BadRequest(RequestError):
    """The request carries neither a frame nor a command, or both kinds of frame."""

    code = "BAD_REQUEST"


class BadFrame(RequestError):
    """The frame cannot be decoded or has an unusable shape."""

    code = "BAD_FRAME"


class FrameTooLarge(RequestError):
    """The frame is over the server's limits."""

    code = "FRAME_TOO_LARGE"


class BadPrompt(RequestError):
    """The prompts are not valid."""

    code = "BAD_PROMPT"


class BadParameter(RequestError):
    """A request parameter is unknown or not valid."""

    code = "BAD_PARAMETER"


class BadFrameIndex(RequestError):
    """The frame index breaks the direction of travel."""

    code = "BAD_FRAME_INDEX"


class BadState(RequestError):
    """The snapshot is damaged or belongs to another server."""

    code = "BAD_STATE"


class UnknownObject(RequestError):
    """No such object in this video."""

    code = "UNKNOWN_OBJECT"


class TooManyObjects(RequestError):
    """Over the server's limit of objects per video."""

    code = "TOO_MANY_OBJECTS"


class TooManyPoints(RequestError):
    """Over the server's limit of points per prompt."""

    code = "TOO_MANY_POINTS"


class BadVideoId(RequestError):
    """The correlation id is 0, empty or too long."""

    code = "BAD_VIDEO_ID"


class NotOwner(RequestError):
    """Another client owns the video of this id."""

    code = "NOT_OWNER"


class VideoLost(MaskletError):
    """The server no longer holds this video: it ended, expired, was refused, or the connection broke. Open a new one."""

    code = "VIDEO_LOST"


class ServerBusy(MaskletError):
    """The server takes no further video now. Retry later or on another server."""

    code = "SERVER_BUSY"


class ServerUnavailable(MaskletError):
    """No server answers at this address."""

    code = "SERVER_UNAVAILABLE"


class ServerFault(MaskletError):
    """The server failed inside."""

    code = "SERVER_FAULT"

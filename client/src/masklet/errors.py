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
    ├── ServerBusy              the server takes no further video or object now: retry in `retry_after_s`, or elsewhere
    ├── ServerUnavailable       no server answers at this address
    ├── ServerFault             the server failed inside; the message says how
    ├── SourceError             a video, folder, camera or stream cannot be opened or read
    └── ExportError             results cannot be exported as asked

On the wire an error is `MASKLET_<CODE>: what happened. What to do.`, and behind it ` [request ID]`; `code` is stable, the text is for people, but for
the words `Retry in N s` of a full server.
"""

from __future__ import annotations

import re
from typing import TypeVar

E = TypeVar("E", bound=BaseException)


class MaskletError(Exception):
    """Base of all errors of this package."""

    code = "ERROR"

    def wire(self, token: str = "") -> str:
        """The error as it crosses the wire; `token`: the id of the request that it answers."""
        return f"MASKLET_{self.code}: {self}" + (f" [request {token}]" if token.isalnum() else "")


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
    """The server no longer holds this video: it ended, expired, was refused, or the connection broke. Open a new one.

    state        of a resilient video: its newest snapshot, for `Tracker.open(state=...)`; None where there was none yet
    state_index  index of the frame after which that was taken
    """

    code = "VIDEO_LOST"
    state: bytes | None = None
    state_index: int | None = None


class ServerBusy(MaskletError):
    """The server takes no further video or object now. Retry later or on another server."""

    code = "SERVER_BUSY"

    @property
    def retry_after_s(self) -> float | None:
        """In how many seconds a full server expects to have room, 1 to 30. None where it did not say: it drains or stops, so go elsewhere at once."""
        told = _RETRY.search(str(self))
        return float(told[1]) if told else None


class ServerUnavailable(MaskletError):
    """No server answers at this address."""

    code = "SERVER_UNAVAILABLE"


class ServerFault(MaskletError):
    """The server failed inside."""

    code = "SERVER_FAULT"


class SourceError(MaskletError):
    """A video, folder, camera or stream cannot be opened or read. Of the caller's side: no server raises it."""

    code = "SOURCE_ERROR"


class ExportError(MaskletError):
    """Results cannot be exported as asked. The message says why and what to do. Of the caller's side: no server raises it."""

    code = "EXPORT_ERROR"


def copy_of(error: E) -> E:
    """An error to raise in the place of one that is kept: what was raised holds on to all that its callers had, a video's threads among it."""
    if not isinstance(error, MaskletError):
        return error
    made = type(error).__new__(type(error), *error.args)  # callers may have classes of their own, made of other arguments
    made.__dict__.update(error.__dict__)
    made.__cause__, made.__suppress_context__ = error.__cause__, error.__suppress_context__
    return made.with_traceback(error.__traceback__)


def from_server(text: str) -> MaskletError:
    """The exception for an error text of the server, masklet's own or Triton's.

    masklet's errors are found by `MASKLET_<CODE>:` anywhere in the text, since Triton puts prefixes in front of it. Triton's own texts
    are known by their words. What nobody knows becomes ServerFault; the server's words are always part of the message.
    """
    own = _OWN.search(text)
    if own:
        kind = _BY_CODE.get(own["code"])
        return kind(own["message"]) if kind else ServerFault(f"{own[0]} (A newer server? This client does not know that code.)")
    words = _PREFIX.sub("", text).strip().rstrip(".")
    for pattern, kind, advice in _TRITON:
        if pattern.search(words) and not (kind is BadRequest and _INNER.search(words)):
            return kind(f"{advice} (Triton: {words}.)" if kind is VideoLost else f"{words}. {advice}")
    return ServerFault(f"the server failed: {words or 'it gave no reason'}. See its log.")


def from_masklet(text: str) -> bool:
    """Whether an error text of the server is masklet's own, not Triton's."""
    return _OWN.search(text) is not None


def token_of(text: str) -> str | None:
    """The id of the request that an error text of the server answers; None where it does not say."""
    own = _OWN.search(text)
    return own["token"] if own else None


def _tree(base: type[MaskletError]) -> dict[str, type[MaskletError]]:
    codes = {base.code: base}
    for kind in base.__subclasses__():
        codes |= _tree(kind)
    return codes


_BY_CODE = _tree(MaskletError)
# A gateway's refusal is the name of a model that does not exist (docker/gateways/messages.lua); Triton closes the quote.
_OWN = re.compile(r"MASKLET_(?P<code>[A-Z_]+): (?P<message>.*?)( \[request (?P<token>\w+)\])?(' is not found)?$", re.DOTALL)
# What an inner model misses is no client's mistake: the model before it died while it answered.
_INNER = re.compile(r"model '(?!tracker)")
_RETRY = re.compile(r"\bRetry in (\d+) s\b")
_PREFIX = re.compile(r"^((\[[^\]]*\]|in ensemble '[^']*',) )*")

# Triton's words -> our class and what to do; the first match counts. Triton promises none of these words to anybody.
_TRITON: tuple[tuple[re.Pattern[str], type[MaskletError], str], ...] = tuple(
    (re.compile("|".join(words), re.IGNORECASE), kind, advice)
    for words, kind, advice in (
        (
            ("must specify the START flag",),
            VideoLost,
            "The server no longer holds this video: it ended, was silent for longer than the server's memory_bank.idle_seconds (75 s by default), or "
            "the server was started again. Open a new video and prompt again.",
        ),
        (
            ("non-zero or non-empty correlation ID", "correlation ID cannot be longer"),
            BadVideoId,
            "Use an integer from 1 to 2**63 - 1 or a string of 1 to 128 bytes.",
        ),
        (
            (
                "unexpected (inference input|shape)",
                r"expected \d+ inputs but got",
                "data-type is",
                "byte size mismatch",
                "batch size does not match",
                "out of bounds index",
                "incomplete string data",
                "already exists in request",
            ),
            BadRequest,
            "Client and server do not agree about the inputs: install the client of the server's version.",
        ),
        (
            ("server (is )?(stopping|exiting)", "stopped accepting new inference", "timeout of the corresponding sequence", "maximum queue size"),
            ServerBusy,
            "It stops or is full. Open a new video, later or on another server.",
        ),
        (
            ("stub process", "not healthy"),
            ServerFault,
            "Its python process died, or got no CPU for a second; whoever runs the server must restart it. Then open a new video.",
        ),
        (
            (
                "unknown model",
                "is not (found|ready)",
                "not at ready",
                "failed to connect",
                "connection (refused|reset)",
                "no healthy upstream",
                "name resolution",
                "protocol is restricted",
                r"^(UNAVAILABLE|UNIMPLEMENTED|UNAUTHENTICATED|PERMISSION_DENIED)\b",
            ),
            ServerUnavailable,
            "Check the address, that it is the gRPC port, TLS and headers, and that the model is loaded: `tracker`, or tracker_VARIANT of several.",
        ),
    )
)

"""Why a video is lost: the errors that no server sends."""

from __future__ import annotations

import re

from masklet.connection.pending import PendingResult
from masklet.errors import MaskletError, ServerBusy, ServerFault, ServerUnavailable, VideoLost, from_server

_REFUSED = re.compile(r"header with status: 413\b")  # how gRPC tells of an HTTP answer
_RESET = re.compile(r"RST_STREAM")
_NGINX = "nginx takes 1 MB on a whole stream unless client_max_body_size is 0, and has timeouts: docker/gateways/nginx.conf sets them."
_WORTH_TELLING_S = 1.0


def expired(url: str, oldest: PendingResult | None, timeout_s: float, *, started: bool) -> MaskletError:
    """The oldest request has taken too long. `started`: the server has answered before."""
    waited = f"no answer for {oldest.waits_for if oldest else 'a request'} from {url} within {timeout_s:g} s."
    if started:
        return VideoLost(f"{waited} Open a new video; if the server is only slow, with a larger timeout_s.")
    advice = "The server may be full, or still warming up. Retry later or on another server, or with a larger timeout_s."
    return ServerBusy(f"{waited} {advice}")


def broken(url: str, oldest: PendingResult | None, text: str, sent: int, *, started: bool) -> MaskletError:
    """What a broken stream means: for a video that runs, always a loss. `sent`: bytes of all its requests."""
    place = f"while waiting for {oldest.waits_for}" if oldest else "between two requests"
    error = from_server(text)
    if not started and isinstance(error, ServerUnavailable | ServerBusy):
        return type(error)(f"{url}: {error}")
    told = f"{text}. {limit}" if (limit := _limit(text, sent)) else f"{text}."
    return VideoLost(f"the stream to {url} broke {place}: {told} Open a new video and prompt again, or restore a snapshot.")


def may_be_a_limit(error: MaskletError) -> bool:
    """Whether a stream may have been ended by a gateway, at a limit of its own."""
    return _REFUSED.search(str(error)) is not None or _RESET.search(str(error)) is not None


def is_too_large(error: MaskletError) -> bool:
    """Whether a gateway said that it takes no more on a stream."""
    return _REFUSED.search(str(error)) is not None


def _limit(text: str, sent: int) -> str:
    """What a gateway may have to do with the end of a stream; empty for nothing."""
    size = f"after {sent / 1e6:.2f} MB of requests, those before this one included"
    if _REFUSED.search(text):
        return f"A gateway in front ended it as too large (413), {size}. {_NGINX}"
    return f"If there is a gateway in front, it may have ended it at a limit of its own, {size}. {_NGINX}" if _RESET.search(text) else ""


def forgotten(error: VideoLost, silent_s: float) -> VideoLost:
    """The server no longer held the video. `silent_s`: how long it had heard nothing of it."""
    return VideoLost(f"{error} It had heard nothing of the video for {silent_s:.0f} s.") if silent_s >= _WORTH_TELLING_S else error


def out_of_step(url: str, pending: PendingResult | None) -> ServerFault:
    """An answer that belongs to another request than this one, or to none that was asked."""
    what = f"{pending.waits_for} with the answer to another request" if pending else "something that was not asked"
    return ServerFault(
        f"{url} answered {what}: its stages are out of step, and what the video's memories hold is not known. Open a new video and prompt again, or "
        "restore a snapshot, and have the server restarted."
    )

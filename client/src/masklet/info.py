"""What a server says of itself: which model it serves, its limits, and its room now."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from masklet import results
from masklet.contract import VERSION
from masklet.errors import BadParameter, ServerFault, ServerUnavailable, from_server
from masklet.inputs import bytes_tensor, random_id
from masklet.transport.protocol import Answer, Event, Request
from masklet.transport.servers import Servers


@dataclass(frozen=True)
class ServerLimits:
    """What a server takes at most; no request can lift it.

    frame_side, frame_pixels  longest side of a frame, and height x width
    frame_bytes               of an encoded frame
    prompts, mask_pixels      of one request; the client spreads what is more
    points                    of one object on one frame; a box counts as two
    objects                   of one video
    prompted_frames           that are remembered of one object, of those behind the newest frame; 0: all
    videos                    live at once
    idle_seconds              a video that is silent for longer is forgotten
    """

    frame_side: int
    frame_pixels: int
    frame_bytes: int
    prompts: int
    mask_pixels: int
    points: int
    objects: int
    prompted_frames: int
    videos: int
    idle_seconds: float


@dataclass(frozen=True)
class ServerRoom:
    """What a server could take besides what it has now: videos, and objects in all. Others may take it first."""

    videos: int
    objects: int


@dataclass(frozen=True)
class ServerInfo:
    """A server, as `Tracker.info` gives it.

    url             which one
    variant         the model that it serves, such as "sam2.1_t"
    image_size      side of the square image that its model sees, pixels
    cell            side of one logit of its masks in that image, pixels: what is smaller is lost
    precision       of its engines
    checkpoint_sha256  of the weights
    version         of masklet on the server
    client_version  of masklet here
    limits, room    see there
    draining        it will stop, and takes no new videos
    """

    url: str
    variant: str
    image_size: int
    cell: int
    precision: str
    checkpoint_sha256: str
    version: str
    client_version: str
    limits: ServerLimits
    room: ServerRoom
    draining: bool


async def ask(servers: Servers, timeout_s: float) -> ServerInfo:
    """Asks the first server. Its answer costs no video's place, and a full or draining one gives it too.

    Raises ServerUnavailable, also where nothing comes for `timeout_s`, and ServerFault for an answer that cannot be read.
    """
    url, video_id = servers.urls[0], random_id()
    request = Request(video_id, True, True, {"PROMPTS": bytes_tensor(b"[]")}, {"masks": "none", "info": True})
    stream = servers.open_stream(url, video_id)
    try:
        stream.send(request)
        event = await stream.receive(timeout_s)
        stream.advance()
    except TimeoutError:
        raise ServerUnavailable(f"{url} gave no answer within {timeout_s:g} s. Check the address, or wait for longer (timeout_s).") from None
    finally:
        await stream.close(cancel=True)
    return _read(event, request, url)


def _read(event: Event | None, request: Request, url: str) -> ServerInfo:
    if not isinstance(event, Answer):
        assert event is not None  # nobody wakes the stream
        error = from_server(event.text)
        if isinstance(error, BadParameter) and "'info'" in str(error):
            raise ServerFault(f"the server at {url} is of a version before {VERSION}, which says nothing of itself.")
        raise error
    if results.token(event.tensors) != request.id:
        raise ServerFault(f"{url} gave the answer to another request: its stages are out of step. Whoever runs it must restart it.")
    try:
        return _info(json.loads(event.tensors["SNAPSHOT"].tobytes()), url, draining=bool(event.tensors["DRAINING"][0]))
    except (KeyError, ValueError, TypeError) as error:
        raise ServerFault(f"what {url} says of itself cannot be read ({error!r}). Are client and server of the same version?") from error


def _info(told: Mapping[str, Any], url: str, *, draining: bool) -> ServerInfo:
    """Names that a newer server has besides are left out."""
    fields = {name: told[name] for name in ("variant", "image_size", "cell", "precision", "checkpoint_sha256", "version")}
    limits = ServerLimits(**{name: told["limits"][name] for name in ServerLimits.__dataclass_fields__})
    room = ServerRoom(**{name: told["room"][name] for name in ServerRoom.__dataclass_fields__})
    return ServerInfo(url=url, client_version=VERSION, limits=limits, room=room, draining=draining, **fields)

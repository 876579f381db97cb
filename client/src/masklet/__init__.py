"""Client of masklet: track objects through live videos on NVIDIA Triton Inference Server.

    import masklet

    with masklet.Tracker("localhost:8001") as tracker, tracker.open() as video:
        video.prompt(1, points=[(210, 350)], labels=[1])
        for result in video.track_many(frames):
            result.frame_index, result.object_ids, result.masks

Importing it needs nothing but Python; what has arrays is imported with the first name that does, and what talks to servers by the first Tracker.
Tests of programs that use it: `masklet.testing`.
"""

from importlib import import_module
from typing import TYPE_CHECKING

from masklet.errors import (
    BadFrame,
    BadFrameIndex,
    BadParameter,
    BadPrompt,
    BadRequest,
    BadState,
    BadVideoId,
    ExportError,
    FrameTooLarge,
    MaskletError,
    NotOwner,
    RequestError,
    ServerBusy,
    ServerFault,
    ServerUnavailable,
    SourceError,
    TooManyObjects,
    TooManyPoints,
    UnknownObject,
    VideoLost,
)

if TYPE_CHECKING:
    from masklet.aio import AsyncTracker
    from masklet.async_video import AsyncVideo
    from masklet.connection.interruption import Interruption
    from masklet.info import ServerInfo, ServerLimits, ServerRoom
    from masklet.recovery.options import Resilience
    from masklet.results import TrackedFrame
    from masklet.tracker import Tracker
    from masklet.transport.protocol import Tls
    from masklet.video import Video

__all__ = [
    "AsyncTracker",
    "AsyncVideo",
    "BadFrame",
    "BadFrameIndex",
    "BadParameter",
    "BadPrompt",
    "BadRequest",
    "BadState",
    "BadVideoId",
    "ExportError",
    "FrameTooLarge",
    "Interruption",
    "MaskletError",
    "NotOwner",
    "RequestError",
    "Resilience",
    "ServerBusy",
    "ServerFault",
    "ServerInfo",
    "ServerLimits",
    "ServerRoom",
    "ServerUnavailable",
    "SourceError",
    "Tls",
    "TooManyObjects",
    "TooManyPoints",
    "TrackedFrame",
    "Tracker",
    "UnknownObject",
    "Video",
    "VideoLost",
]

# Health checks run every few seconds and read counters: the client, and numpy, would be most of what they cost.
_LATER = {
    "AsyncTracker": "masklet.aio",
    "AsyncVideo": "masklet.async_video",
    "Interruption": "masklet.connection.interruption",
    "Resilience": "masklet.recovery.options",
    **dict.fromkeys(("ServerInfo", "ServerLimits", "ServerRoom"), "masklet.info"),
    "Tls": "masklet.transport.protocol",
    "TrackedFrame": "masklet.results",
    "Tracker": "masklet.tracker",
    "Video": "masklet.video",
}


def __getattr__(name: str) -> object:
    """A public name, imported when it is first used."""
    if name not in _LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = found = getattr(import_module(_LATER[name]), name)
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})

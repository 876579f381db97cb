"""Client of masklet: track objects through live videos on NVIDIA Triton Inference Server.

    import masklet

    with masklet.Tracker("localhost:8001") as tracker, tracker.open() as video:
        video.prompt(1, points=[(210, 350)], labels=[1])
        for result in video.track_many(frames):
            result.frame_index, result.object_ids, result.masks

Importing it needs numpy only; what talks to servers is imported by the first Tracker. Tests of programs that use it: `masklet.testing`.
"""

from masklet.aio import AsyncTracker, AsyncVideo
from masklet.connection.interruption import Interruption
from masklet.errors import (
    BadFrame,
    BadFrameIndex,
    BadParameter,
    BadPrompt,
    BadRequest,
    BadState,
    BadVideoId,
    FrameTooLarge,
    MaskletError,
    NotOwner,
    RequestError,
    ServerBusy,
    ServerFault,
    ServerUnavailable,
    TooManyObjects,
    TooManyPoints,
    UnknownObject,
    VideoLost,
)
from masklet.recovery.options import Resilience
from masklet.results import TrackedFrame
from masklet.tracker import Tracker, Video
from masklet.transport.protocol import Tls

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
    "FrameTooLarge",
    "Interruption",
    "MaskletError",
    "NotOwner",
    "RequestError",
    "Resilience",
    "ServerBusy",
    "ServerFault",
    "ServerUnavailable",
    "Tls",
    "TooManyObjects",
    "TooManyPoints",
    "TrackedFrame",
    "Tracker",
    "UnknownObject",
    "Video",
    "VideoLost",
]

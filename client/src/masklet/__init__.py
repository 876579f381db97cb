"""Client of masklet: track objects through live videos on NVIDIA Triton Inference Server.

    import masklet

    with masklet.Tracker("localhost:8001") as tracker, tracker.open() as video:
        video.prompt(1, points=[(210, 350)], labels=[1])
        for result in video.track_many(frames):
            result.frame_index, result.object_ids, result.masks

Importing it needs numpy only; what talks to servers is imported by the first Tracker.
"""

from masklet.aio import AsyncTracker, AsyncVideo
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
from masklet.mock import MockTransport
from masklet.resilience.options import Resilience
from masklet.resilience.report import Interruption
from masklet.results import TrackedFrame
from masklet.tracker import Tracker, Video
from masklet.transport import Answer, Broken, Refusal, Request, Tls

__all__ = [
    "Answer",
    "AsyncTracker",
    "AsyncVideo",
    "BadFrame",
    "BadFrameIndex",
    "BadParameter",
    "BadPrompt",
    "BadRequest",
    "BadState",
    "BadVideoId",
    "Broken",
    "FrameTooLarge",
    "Interruption",
    "MaskletError",
    "MockTransport",
    "NotOwner",
    "Refusal",
    "Request",
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

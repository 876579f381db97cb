"""What happened to a video, in numbers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Cause = Literal["broken", "silent", "forgotten", "failed", "draining"]


@dataclass(frozen=True)
class Interruption:
    """One move of a resilient video to another server, or back to the same. Its results are what they would have been without it.

    cause            broken: the stream ended; silent: no answer within `Resilience.watchdog_s`; forgotten: the server no longer held the video;
                     failed: the server failed inside, such as a dead process; draining: the server asked its videos to move
    reason           the error, for people
    at               when it was noticed, `time.time()`
    waited_s         how long the oldest request without an answer had waited when it was noticed
    seconds          from then until the next new result. A draining server goes on meanwhile: there it is the time that the first new result
                     from the other one took
    frames_replayed  frames that were answered before and computed again
    attempts         how many servers were asked, one after another
    from_url, to_url where the video was and is; one and the same behind a gateway
    """

    cause: Cause
    reason: str
    at: float
    waited_s: float
    seconds: float
    frames_replayed: int
    attempts: int
    from_url: str
    to_url: str

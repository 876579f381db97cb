"""Who is let in, and what a request shall do: decided before anything is computed, and taken back where it comes to nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from masklet.errors import BadRequest, MaskletError, from_server
from masklet.families import Variant
from masklet_bank.arrays import Arrays
from masklet_bank.metrics import Observer
from masklet_bank.policies import policy_of
from masklet_bank.request import Request
from masklet_bank.snapshot import Parsed
from masklet_bank.video import Decision, Video, VideoLimits
from masklet_bank.videos import Capacity, Videos

Restored = Parsed | MaskletError | None  # the snapshot of a request, or what is wrong with it


@dataclass(frozen=True)
class Settings:
    """What the config says.

    engine_limit  objects per engine call
    identity      what snapshots must agree on
    drain_file    while this file is there, and is the server's user's or root's, no video begins here; "": there is none
    """

    variant: Variant
    limits: VideoLimits
    capacity: Capacity
    engine_limit: int
    identity: Mapping[str, str]
    drain_file: str


@dataclass(frozen=True)
class Admitted:
    """A request that is let in, and what it does to which video; nothing of that is done yet.

    replaced   the live video in whose place this one begins
    """

    request: Request
    video: Video
    replaced: Video | None
    decision: Decision


class Admission:
    """Admits requests. `draining`: no video begins. What it changes in `videos` is undone by `withdraw`."""

    def __init__(self, settings: Settings, videos: Videos, observer: Observer, arrays: Arrays) -> None:
        self.draining = False
        self._settings = settings
        self._videos = videos
        self._observer = observer
        self._arrays = arrays
        self._policy = policy_of(settings.variant.family, settings.limits.max_conditioning)

    def admit(self, request: Request, restored: Restored) -> Admitted:
        """Admits a request and decides what it does. Raises MaskletError; then at most an empty video has begun (see `withdraw`)."""
        replaced = None
        if request.start:
            video = self._new(request, restored)
            replaced = self._videos.find(request.video_id)
            self._videos.begin(request.video_id, video)
        else:
            video = self._videos.get(request.video_id, request.owner)
        try:
            if request.start:
                self._videos.reserve(request.video_id, video.footprint(self._settings.capacity.object_bytes).reserved)
            return Admitted(request, video, replaced, self._decision(request, video))
        except BaseException:
            self.withdraw(request, video, replaced)
            raise

    def _new(self, request: Request, restored: Restored) -> Video:
        passing = request.end  # answered and gone: it takes no place, so that a probe is answered by a full or draining server too
        self._videos.admit(request.video_id, request.owner, draining=self.draining, passing=passing)
        if not request.envelope.restores:
            return Video(self._policy, self._settings.limits, request.owner)
        if request.envelope.error:  # an empty video would go on as if nothing had ever been prompted
            raise from_server(request.envelope.error)
        if isinstance(restored, MaskletError):
            raise restored
        assert restored is not None
        return restored.video(request.owner, self._arrays)

    def end(self, request: Request) -> None:
        """END, whatever becomes of its request; but only its owner can end a video."""
        video = self._videos.owned(request.video_id, request.owner)
        leave = self._videos.forget if request.start else self._videos.end  # what passes had no room that others could have now
        if video is not None and leave(request.video_id, video):
            self._observer.ended("end")

    def withdraw(self, request: Request, video: Video, replaced: Video | None) -> None:
        """A START that was refused: the live video in whose place it began goes on. Where there was none an empty one begins, for the frames that are
        already on their way behind this one."""
        if not request.start:
            return
        holds = self._videos.find(request.video_id) is video  # or END came with it
        if replaced is not None:
            if holds:
                self._videos.begin(request.video_id, replaced)
        elif holds and request.envelope.restores:
            self._videos.forget(request.video_id, video)
        else:
            self._observer.started()

    def _decision(self, request: Request, video: Video) -> Decision:
        envelope = request.envelope
        if envelope.error:
            raise from_server(envelope.error)
        if not request.start and envelope.restores:
            raise BadRequest("STATE was given without START. A snapshot restores a video when it begins: send it with the first request.")
        masks = request.mask_prompts()
        if envelope.options.info and (envelope.size is not None or envelope.options.snapshot):
            raise BadRequest("`info` goes without a frame and without `snapshot`. Ask for it in a request of its own.")
        if envelope.size is None:
            asked = envelope.options.snapshot or envelope.options.keep_alive or envelope.options.info
            if not (request.start or request.end or envelope.prompts or asked):
                raise BadRequest(
                    "the request has neither a frame nor a command. Send FRAME or FRAME_ENCODED; or remove an object, ask for a snapshot, say "
                    "`keep_alive`, or END."
                )
            return video.removal(envelope.prompts)
        decision = video.decision(envelope.prompts, masks, envelope.options, request.features)
        object_bytes = self._settings.capacity.object_bytes
        growth = video.expected(decision).grown(object_bytes) - video.grown(object_bytes) if decision.prompted else 0
        self._videos.reserve(request.video_id, growth)
        return decision

"""Who is let in, and what a request shall do: decided before anything is computed, and taken back where it comes to nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from masklet.errors import BadRequest, MaskletError, ServerBusy, from_server
from masklet.families import Variant
from masklet_bank.arrays import Arrays
from masklet_bank.metrics import Observer
from masklet_bank.prompts import Prompt, with_masks
from masklet_bank.request import Request
from masklet_bank.snapshot import Parsed
from masklet_bank.step import Frame
from masklet_bank.video import FramePlan, Limits, Video
from masklet_bank.videos import Capacity, Videos

State = Parsed | MaskletError | None  # the snapshot of a request, or what is wrong with it


@dataclass(frozen=True)
class Settings:
    """What the config says.

    engine_limit  objects per engine call
    identity      what snapshots must agree on
    drain_file    while this file exists no video begins here
    """

    variant: Variant
    limits: Limits
    capacity: Capacity
    engine_limit: int
    identity: Mapping[str, str]
    drain_file: str


@dataclass
class Planned:
    """A request between its plan and its commit.

    frame      what is computed; None for a control request
    removed    prompts of a control request
    replaced   the live video in whose place this one begins
    """

    request: Request
    video: Video
    replaced: Video | None = None
    frame: FramePlan | None = None
    removed: list[Prompt] = field(default_factory=list)


class Admission:
    """Plans requests. `draining`: no video begins. What it changes in `videos` is undone by `withdraw`."""

    def __init__(self, settings: Settings, videos: Videos, observer: Observer, arrays: Arrays) -> None:
        self.draining = False
        self._settings = settings
        self._videos = videos
        self._observer = observer
        self._arrays = arrays

    def plan(self, request: Request, state: State) -> Planned:
        """Admits a request and decides what it computes. Raises MaskletError; then at most an empty video has begun (see `withdraw`)."""
        planned = self._begin(request, state) if request.start else Planned(request, self._videos.get(request.video_id, request.owner))
        try:
            self._decide(planned)
        except BaseException:
            self.withdraw(planned)
            raise
        return planned

    def _begin(self, request: Request, state: State) -> Planned:
        passing = request.end  # answered and gone: it takes no place, so that a probe is answered by a full or draining server too
        if self.draining and not passing:
            raise ServerBusy("this server is draining: it will stop, and takes no new videos. Open the video on another server.")
        self._videos.admit(request.video_id, request.owner, passing=passing)
        video = self._restored(request, state) if request.envelope.restores else self._empty(request)
        replaced = self._videos.find(request.video_id)
        self._videos.begin(request.video_id, video)
        planned = Planned(request, video, replaced)
        try:
            self._videos.reserve(request.video_id, video.footprint(self._settings.capacity.object_bytes).reserved)
        except ServerBusy:
            self.withdraw(planned)
            raise
        return planned

    def _empty(self, request: Request) -> Video:
        return Video(self._settings.variant.family, self._settings.limits, request.owner)

    def _restored(self, request: Request, state: State) -> Video:
        if request.envelope.error:  # an empty video would go on as if nothing had ever been prompted
            raise from_server(request.envelope.error)
        if isinstance(state, MaskletError):
            raise state
        assert state is not None
        return state.video(request.owner, self._arrays)

    def end(self, request: Request) -> None:
        """END, whatever becomes of its request; but only its owner can end a video."""
        video = self._videos.owned(request.video_id, request.owner)
        if video is not None and self._videos.end(request.video_id, video):
            self._observer.ended("end")

    def withdraw(self, planned: Planned) -> None:
        """A START that was refused: the live video in whose place it began goes on. Where there was none an empty one begins, for the frames that are
        already on their way behind this one."""
        if not planned.request.start:
            return
        video_id = planned.request.video_id
        holds = self._videos.find(video_id) is planned.video  # or END came with it
        if planned.replaced is not None:
            if holds:
                self._videos.begin(video_id, planned.replaced)
        elif holds and planned.request.envelope.restores:
            self._videos.end(video_id, planned.video)
        else:
            self._observer.started()

    def _decide(self, planned: Planned) -> None:
        request, video = planned.request, planned.video
        envelope = request.envelope
        if envelope.error:
            raise from_server(envelope.error)
        if not request.start and envelope.restores:
            raise BadRequest("STATE was given without START. A snapshot restores a video when it begins: send it with the first request.")
        prompts = list(with_masks(envelope.prompts, request.masks, request.lows))
        if envelope.size is not None:
            planned.frame = self._plan_frame(request, video, prompts)
            return
        if not (request.start or request.end or prompts or envelope.options.snapshot):
            raise BadRequest(
                "the request has neither a frame nor a command. Send FRAME or FRAME_ENCODED; or remove an object, ask for a snapshot, or END."
            )
        planned.removed = prompts

    def _plan_frame(self, request: Request, video: Video, prompts: list[Prompt]) -> FramePlan:
        plan = video.plan(prompts, request.envelope.options, Frame(dict(request.features)))
        self._videos.reserve(request.video_id, plan.growth(self._settings.capacity.object_bytes))
        return plan

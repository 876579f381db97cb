"""Answers the requests of one execution: admits, plans, runs all jobs together, commits. Knows nothing of Triton."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from time import monotonic
from typing import TypeVar

import numpy as np

from masklet.contract import TIMING_FIELDS
from masklet.envelope import Envelope
from masklet.errors import BadRequest, MaskletError, ServerBusy, ServerFault, from_server
from masklet.families import Variant
from masklet_bank import snapshot
from masklet_bank.arrays import HOST, Arrays
from masklet_bank.bank import Answer
from masklet_bank.metrics import Meters, Observer, Unmetered
from masklet_bank.prompts import Prompt, with_masks
from masklet_bank.request import Request
from masklet_bank.stages import Stages, Stopwatch
from masklet_bank.step import Engines, Frame, Job, step
from masklet_bank.video import FramePlan, Limits, Video
from masklet_bank.videos import Capacity, Videos

_log = logging.getLogger("masklet")
A = TypeVar("A")
R = TypeVar("R")
T = TypeVar("T")  # a response


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
class _Planned:
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


class Service:
    """The stateful heart of the server: all live videos, and the engines.

    meters   who counts what happens; None: nobody
    arrays   where the arrays of the bank live: where the engines are
    """

    def __init__(self, settings: Settings, stages: Stages, meters: Meters | None = None, arrays: Arrays = HOST) -> None:
        self.settings = settings
        self.videos = Videos(settings.capacity)
        self.observer = Observer(meters or Unmetered(), settings.capacity)
        self._stages = stages
        self._arrays = arrays
        self._draining = False

    def answer(self, requests: Sequence[Request], respond: Callable[[Envelope, dict[str, np.ndarray]], T]) -> list[T | MaskletError]:
        """What `respond` makes of each request's answer, or its error.

        A request that fails changes nothing and takes no other with it; END is honoured whatever else becomes of its request.

        respond   gets the envelope for postprocess, and the other output tensors of contract.memory_bank, without batch dimension; what it raises is
                  the error of that request
        """
        begin = monotonic()
        self._look()
        engines = Engines(self.settings.variant, self._stages, self.settings.engine_limit, self._arrays, Stopwatch())
        planned = []
        for request in requests:
            planned.append(_caught(self._plan, request))
            if request.end:  # at once, since the next request may begin a video of the same id; what is planned holds the video
                self._end(request)
        self._run([job for item in planned if isinstance(item, _Planned) and item.frame for job in item.frame.jobs], engines)
        answers = [_caught(lambda item: self._commit(item, respond, engines.watch, begin), item) for item in planned]
        self._observe(requests, answers, begin, engines.watch)
        return answers

    def idle(self) -> None:
        """Does what time and the drain file ask for without any request. Call it now and then, never beside `answer`."""
        self._look()
        self.observer.holds(self.videos, [])

    def _look(self) -> None:
        self._draining = os.access(self.settings.drain_file, os.F_OK)  # a microsecond
        self.observer.draining(self._draining)
        for video_id in self.videos.expire():
            self.observer.ended(video_id, "expired")

    def _run(self, jobs: list[Job], engines: Engines) -> None:
        """Every job gets a result or an error."""
        try:
            step(jobs, engines)
        except Exception as error:  # not in an engine's group, which `step` looks after
            _log.exception("an execution failed in the memory bank")
            for job in jobs:
                job.error = job.error or f"{type(error).__name__}: {error}"

    def _plan(self, request: Request) -> _Planned:
        """Admits a request and decides what it computes."""
        planned = self._begin(request) if request.start else _Planned(request, self.videos.get(request.video_id, request.owner))
        try:
            self._decide(planned)
        except BaseException:
            self._withdraw(planned)
            raise
        return planned

    def _begin(self, request: Request) -> _Planned:
        passing = request.end  # answered and gone: it takes no place, so that a probe is answered by a full or draining server too
        if self._draining and not passing:
            raise ServerBusy("this server is draining: it will stop, and takes no new videos. Open the video on another server.")
        self.videos.admit(request.video_id, request.owner, passing=passing)
        video = self._restored(request) if request.envelope.restores else Video(self.settings.variant.family, self.settings.limits, request.owner)
        replaced = self.videos.find(request.video_id)
        self.videos.begin(request.video_id, video)
        return _Planned(request, video, replaced)

    def _restored(self, request: Request) -> Video:
        if request.envelope.error:  # an empty video would go on as if nothing had ever been prompted
            raise from_server(request.envelope.error)
        settings = self.settings
        video = snapshot.load(request.state, settings.variant, settings.limits, settings.identity, request.owner, self._arrays)
        if not self.videos.has_room(0, video.reserved(settings.capacity.object_bytes)):
            raise ServerBusy("the memories of this snapshot do not fit into this server now. Retry later, or restore it on another server.")
        return video

    def _end(self, request: Request) -> None:
        video = self.videos.owned(request.video_id, request.owner)
        if video is not None and self.videos.end(request.video_id, video):
            self.observer.ended(request.video_id, "end")

    def _withdraw(self, planned: _Planned) -> None:
        """A START that was refused: the live video in whose place it began goes on. Where there was none an empty one begins, for the frames that are
        already on their way behind this one."""
        if not planned.request.start:
            return
        video_id = planned.request.video_id
        holds = self.videos.find(video_id) is planned.video  # or END came with it
        if planned.replaced is not None:
            if holds:
                self.videos.begin(video_id, planned.replaced)
        elif holds and planned.request.envelope.restores:
            self.videos.end(video_id, planned.video)
        else:
            self.observer.started()

    def _decide(self, planned: _Planned) -> None:
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
        added = [planned for planned in plan.objects if planned.object_id not in video.objects]
        if added and not self.videos.has_room(len(added)):
            raise ServerBusy("the memory of a further object does not fit into this server now. Retry later, or remove objects.")
        return plan

    def _commit(self, planned: _Planned | MaskletError, respond: Callable[[Envelope, dict[str, np.ndarray]], T], watch: Stopwatch, begin: float) -> T:
        """Writes what was computed, and answers. If either fails, the video is as it was before."""
        if isinstance(planned, MaskletError):
            raise planned
        video, before = planned.video, planned.video.saved()
        try:
            answers = self._write(planned)
            tensors = self._tensors(planned, answers)
            times = _times(planned.request, begin, watch)
            envelope = replace(planned.request.envelope, prompts=(), restores=False, objects=len(answers), times=times)
            response = respond(envelope, tensors)
        except BaseException:
            video.restore(before)
            self._withdraw(planned)
            raise
        if planned.request.start:
            self.observer.started()
        if planned.replaced is not None:
            self.observer.ended(planned.request.video_id, "replaced")
        if planned.frame is not None:
            self.observer.evicted(planned.frame.evicted)
        return response

    def _write(self, planned: _Planned) -> list[tuple[int, Answer]]:
        if planned.frame is None:
            planned.video.remove(planned.removed)
            return []
        errors = [job.error for job in planned.frame.jobs if job.error is not None]
        if errors:
            raise ServerFault(f"{errors[0]}. The frame changed nothing; send it again, and look at the server's log if it fails again.")
        return planned.video.commit(planned.frame)

    def _observe(self, requests: Sequence[Request], answers: Sequence[object], begin: float, watch: Stopwatch) -> None:
        """Tells the observer what became of the requests."""
        now = monotonic()
        for request, answer in zip(requests, answers, strict=True):
            if isinstance(answer, MaskletError):
                self.observer.refused(answer)
            elif request.envelope.size is not None:
                self.observer.answered(now - request.envelope.received)
        self.observer.copied(self._arrays.copied)
        self.observer.executed(len(requests), watch, now - begin - sum(watch.seconds.values()))
        self.observer.holds(self.videos, [request.video_id for request in requests])

    def _tensors(self, planned: _Planned, answers: list[tuple[int, Answer]]) -> dict[str, np.ndarray]:
        """The output tensors of one answer but ENVELOPE."""
        low, video = self.settings.variant.low_size, planned.video
        results = [answer.result for _, answer in answers]
        asked = planned.request.envelope.options.snapshot
        return {
            "FRAME_INDEX": np.array([-1 if video.frame is None else video.frame], np.int64),
            "OBJECT_IDS": np.array([object_id for object_id, _ in answers], np.int64),
            "SCORES": np.array([result.score for result in results], np.float32),
            "IOUS": np.array([result.iou for result in results], np.float32),
            "LOW": self._arrays.get(self._arrays.stack([result.low for result in results])) if results else np.zeros((0, low, low), np.float32),
            "SNAPSHOT": snapshot.dump(video, self.settings.identity, self._arrays) if asked else np.zeros(0, np.uint8),
            "DRAINING": np.array([self._draining], np.uint8),
        }


def _caught(function: Callable[[A], R], argument: A) -> R | MaskletError:
    """The error of one request is that request's answer: it touches no other in the batch."""
    try:
        return function(argument)
    except MaskletError as error:
        return error
    except Exception:
        _log.exception("a request failed in the memory bank")
        return ServerFault("the memory bank failed on this request; the server's log says why. The request changed nothing.")


def _times(request: Request, begin: float, watch: Stopwatch) -> tuple[float, ...]:
    """The first six of TIMING_FIELDS, in milliseconds. The requests of one execution wait for one another, so its engine times are those of each."""
    engines = dict(watch.seconds)
    mask_decoder = engines.pop("mask_decoder", 0.0) + engines.pop("mask_prompt", 0.0)
    seconds = {
        "preprocess": request.envelope.preprocessed - request.envelope.received,
        "image_encoder": begin - request.envelope.preprocessed,
        "memory_attention": engines.get("memory_attention", 0.0),
        "mask_decoder": mask_decoder,
        "memory_encoder": engines.get("memory_encoder", 0.0),
        "memory_bank": monotonic() - begin - sum(watch.seconds.values()),
    }
    return tuple(1000 * seconds[name] for name in TIMING_FIELDS[:-1])

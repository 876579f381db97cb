"""Answers the requests of one execution: admits, plans, runs all jobs together, commits. Knows nothing of Triton."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from time import monotonic
from typing import Any, TypeVar

import numpy as np

from masklet.contract import TIMING_FIELDS
from masklet.errors import BadParameter, BadRequest, MaskletError, ServerBusy, ServerFault, from_server
from masklet.families import Variant
from masklet.wire import Options
from masklet_bank import snapshot
from masklet_bank.arrays import HOST, Array, Arrays
from masklet_bank.bank import Answer
from masklet_bank.integrity import Inspector
from masklet_bank.ledger import VideoId
from masklet_bank.metrics import Meters, Observer, Unmetered
from masklet_bank.prompts import Prompt, unpack
from masklet_bank.stages import Stages, Stopwatch
from masklet_bank.step import Engines, Frame, step
from masklet_bank.video import FramePlan, Limits, Video
from masklet_bank.videos import Capacity, Videos

_log = logging.getLogger("masklet")
A = TypeVar("A")
R = TypeVar("R")


@dataclass(frozen=True)
class Request:
    """One request as it reaches the bank.

    tensors     the inputs of contract.memory_bank without their batch dimension, features where the bank's arrays live, the others on the host
    status      STATUS as text
    parameters  the client's request parameters
    """

    video_id: VideoId
    start: bool
    end: bool
    parameters: Mapping[str, object]
    status: str
    tensors: Mapping[str, Any]


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
class _Frame:
    """A request with a frame, between its plan and its commit."""

    request: Request
    options: Options
    video: Video
    plan: FramePlan


class Service:
    """The stateful heart of the server: all live videos, and the engines.

    meters   who counts what happens; None: nobody
    arrays   where the arrays of the bank live: where the engines are
    """

    def __init__(self, settings: Settings, stages: Stages, meters: Meters | None = None, arrays: Arrays = HOST) -> None:
        self.settings = settings
        self.videos = Videos(settings.capacity)
        self.observer = Observer(meters or Unmetered(), settings.capacity)
        self._inspector = Inspector(settings.variant, settings.capacity.object_bytes)
        self._stages = stages
        self._arrays = arrays
        self._draining = False

    def answer(self, requests: Sequence[Request]) -> list[dict[str, np.ndarray] | MaskletError]:
        """The output tensors of contract.memory_bank for each request, without batch dimension, or its error."""
        begin = monotonic()
        self._look([request.video_id for request in requests])
        engines = Engines(self.settings.variant, self._stages, self.settings.engine_limit, self._arrays, Stopwatch())
        planned = [_caught(self._plan, request) for request in requests]
        step([job for item in planned if isinstance(item, _Frame) for job in item.plan.jobs], engines)
        answers = [_caught(self._commit, item) if isinstance(item, _Frame) else item for item in planned]
        for request in requests:
            self._close(request)
        self.videos.settle(request.video_id for request in requests)
        for request, answer in zip(requests, answers, strict=True):
            if isinstance(answer, dict):
                answer["TIMES"] = _times(request, begin, engines.watch)
        self._observe(requests, answers, begin, engines.watch)
        return answers

    def idle(self) -> None:
        """Does what time and the drain file ask for without any request. Call it now and then, never beside `answer`."""
        self._look([])
        self.observer.holds(self.videos)
        problems = self._inspector.look(self.videos)
        for problem in problems:
            _log.error("the memory bank is not what it must be: %s", problem)
        self.observer.broken(len(problems))

    def _look(self, waiting: Sequence[VideoId]) -> None:
        self._draining = os.access(self.settings.drain_file, os.F_OK)  # a microsecond
        self.observer.draining(self._draining)
        for _ in self.videos.expire(waiting):
            self.observer.ended("expired")

    def _plan(self, request: Request) -> _Frame | dict[str, np.ndarray]:
        """Admits a request and plans its frame; a control request is answered at once."""
        options = Options.parse(request.parameters) if not request.status else _owner_only(request.parameters)
        video = self._begin(request, options) if request.start else self.videos.get(request.video_id, options.owner)
        if request.status:
            raise from_server(request.status)
        if not request.start and len(request.tensors["RESTORE"]):
            raise BadRequest("STATE was given without START. A snapshot restores a video when it begins: send it with the first request.")
        prompts = list(unpack(request.tensors))
        if not request.tensors["SIZE"].all():
            return self._control(request, options, video, prompts)
        return _Frame(request, options, video, self._plan_frame(request, options, video, prompts))

    def _begin(self, request: Request, options: Options) -> Video:
        passing = request.end  # answered and gone: it takes no place, so that a probe is answered by a full or draining server too
        if self._draining and not passing:
            raise ServerBusy("this server is draining: it will stop, and takes no new videos. Open the video on another server.")
        self.videos.admit(request.video_id, options.owner, passing=passing)
        settings = self.settings
        if len(request.tensors["RESTORE"]):
            if request.status:  # an empty video would go on as if nothing had ever been prompted
                raise from_server(request.status)
            parsed = snapshot.parse(request.tensors["RESTORE"], settings.variant, settings.limits, settings.identity)
            video = parsed.video(options.owner, self._arrays)
        else:
            video = Video(settings.variant.family, settings.limits, options.owner)
        replaced = self.videos.find(request.video_id)
        self.videos.begin(request.video_id, video)
        try:
            self.videos.reserve(request.video_id, video.footprint(settings.capacity.object_bytes).reserved)
        except ServerBusy:
            self.videos.begin(request.video_id, replaced) if replaced else self.videos.end(request.video_id)
            raise
        if replaced:
            self.observer.ended("replaced")
        self.observer.started()
        return video

    def _control(self, request: Request, options: Options, video: Video, prompts: list[Prompt]) -> dict[str, np.ndarray]:
        """A request without a frame: START, END, remove, snapshot. The frame index stands still."""
        if not (request.start or request.end or prompts or options.snapshot):
            raise BadRequest(
                "the request has neither a frame nor a command. Send FRAME or FRAME_ENCODED; or remove an object, ask for a snapshot, or END."
            )
        video.remove(prompts)
        return self._tensors(request, options, video, [])

    def _plan_frame(self, request: Request, options: Options, video: Video, prompts: list[Prompt]) -> FramePlan:
        features: dict[str, Array] = {name: array for name, array in request.tensors.items() if name == "EMBEDDING" or name.startswith("HIGH_RES_")}
        if np.isnan(self._arrays.get(features["EMBEDDING"][0, 0, :1])).any():
            raise ServerFault("the image encoder failed on this frame. The video goes on; the server's log says why.")
        plan = video.plan(prompts, options, Frame(features))
        self.videos.reserve(request.video_id, plan.growth(self.settings.capacity.object_bytes))
        return plan

    def _commit(self, frame: _Frame) -> dict[str, np.ndarray]:
        errors = [job.error for job in frame.plan.jobs if job.error is not None]
        if errors:
            raise ServerFault(f"{errors[0]}. The frame changed nothing; send it again, and look at the server's log if it fails again.")
        answers = frame.video.commit(frame.plan)
        self.observer.evicted(frame.plan.evicted)
        return self._tensors(frame.request, frame.options, frame.video, answers)

    def _close(self, request: Request) -> None:
        """END frees the video, whatever became of its request; but only its owner can end it."""
        if not request.end:
            return
        try:
            self.videos.get(request.video_id, _owner_only(request.parameters).owner)
        except MaskletError:
            return
        self.videos.end(request.video_id)
        self.observer.ended("end")

    def _observe(self, requests: Sequence[Request], answers: Sequence[dict[str, np.ndarray] | MaskletError], begin: float, watch: Stopwatch) -> None:
        """Tells the observer what became of the requests."""
        now = monotonic()
        for request, answer in zip(requests, answers, strict=True):
            if isinstance(answer, MaskletError):
                self.observer.refused(answer)
            elif request.tensors["SIZE"].all():
                self.observer.answered(now - float(request.tensors["CLOCK"][0]))
                self.videos.took(now - float(request.tensors["CLOCK"][0]))
        self.observer.copied(self._arrays.copied)
        self.observer.executed(len(requests), watch, now - begin - sum(watch.seconds.values()))
        self.observer.holds(self.videos)

    def _tensors(self, request: Request, options: Options, video: Video, answers: list[tuple[int, Answer]]) -> dict[str, np.ndarray]:
        """The output tensors of one answer; TIMES is added when the whole execution is done."""
        low = self.settings.variant.low_size
        results = [answer.result for _, answer in answers]
        return {
            "FRAME_INDEX": np.array([-1 if video.frame is None else video.frame], np.int64),
            "OBJECT_IDS": np.array([object_id for object_id, _ in answers], np.int64),
            "SCORES": np.array([result.score for result in results], np.float32),
            "IOUS": np.array([result.iou for result in results], np.float32),
            "LOW": self._arrays.get(self._arrays.stack([result.low for result in results])) if results else np.zeros((0, low, low), np.float32),
            "FRAME_SIZE": request.tensors["SIZE"].astype(np.int32),
            "SNAPSHOT": snapshot.dump(video, self.settings.identity, self._arrays) if options.snapshot else np.zeros(0, np.uint8),
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


def _owner_only(parameters: Mapping[str, object]) -> Options:
    """The owner of a request whose parameters may be wrong."""
    try:
        return Options.parse({name: value for name, value in parameters.items() if name == "owner"})
    except BadParameter:  # nobody can be its owner
        return Options()


def _times(request: Request, begin: float, watch: Stopwatch) -> np.ndarray:
    """TIMES in milliseconds. The requests of one execution wait for one another, so its engine times are those of each."""
    received, preprocessed = request.tensors["CLOCK"]
    engines = dict(watch.seconds)
    mask_decoder = engines.pop("mask_decoder", 0.0) + engines.pop("mask_prompt", 0.0)
    seconds = {
        "preprocess": preprocessed - received,
        "image_encoder": begin - preprocessed,
        "memory_attention": engines.get("memory_attention", 0.0),
        "mask_decoder": mask_decoder,
        "memory_encoder": engines.get("memory_encoder", 0.0),
        "memory_bank": monotonic() - begin - sum(watch.seconds.values()),
    }
    return np.array([1000 * seconds[name] for name in TIMING_FIELDS[:-1]], np.float32)

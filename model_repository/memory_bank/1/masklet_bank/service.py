"""Answers the requests of one execution: admits them, runs all jobs together, commits. Knows nothing of Triton."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from threading import Lock
from time import monotonic
from typing import ParamSpec, TypeVar

import numpy as np

from masklet.contract import TIMING_FIELDS
from masklet.envelope import Envelope
from masklet.errors import MaskletError, ServerFault
from masklet_bank import about, snapshot
from masklet_bank.admission import Admission, Admitted, Restored, Settings
from masklet_bank.arrays import HOST, Arrays
from masklet_bank.bank import Result
from masklet_bank.calls import Engines, Failure
from masklet_bank.cleaning import Cleaner
from masklet_bank.integrity import Inspector
from masklet_bank.job import Job
from masklet_bank.ledger import VideoId
from masklet_bank.metrics import Meters, Observer
from masklet_bank.request import Request
from masklet_bank.snapshot import Parsed
from masklet_bank.stages import Stages, Stopwatch
from masklet_bank.step import step
from masklet_bank.video import Outcome
from masklet_bank.videos import Videos

_log = logging.getLogger("masklet")
P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")  # a response
Respond = Callable[[Envelope, dict[str, np.ndarray]], T]

_SHM = "/dev/shm"


class Service:
    """The stateful heart of the server: all live videos, and the engines.

    meters   who counts what happens; None: nobody
    arrays   where the arrays of the bank live: where the engines are
    """

    def __init__(self, settings: Settings, stages: Stages, meters: Meters | None = None, arrays: Arrays = HOST) -> None:
        self.settings = settings
        self.videos = Videos(settings.capacity)
        self.observer = Observer(meters or Meters(), settings.capacity, settings.drain_file)
        self._inspector = Inspector(settings.variant, settings.capacity.object_bytes)
        self._stages = stages
        self._arrays = arrays
        self._clean = Cleaner(settings.variant.family.cleaning, arrays) if settings.cleans else None
        self._admission = Admission(settings, self.videos, self.observer, arrays)
        self._lock = Lock()

    def answer(self, requests: Sequence[Request], respond: Respond[T]) -> list[T | MaskletError]:
        """What `respond` makes of each request's answer, or its error.

        A request that fails changes nothing and takes no other with it; END is honoured whatever else becomes of its request.

        respond   gets the envelope for postprocess, and the other output tensors of contract.memory_bank, without batch dimension; what it raises is
                  the error of that request
        """
        states = [_caught(self._parse, request) for request in requests]  # which takes long, and touches nothing that others use
        with self._lock:
            return self._answer(requests, states, respond)

    def idle(self) -> None:
        """Does what time and the drain file ask for without any request. Call it now and then."""
        with self._lock:
            self._look([])
            self.observer.holds(self.videos)
            shm = os.statvfs(_SHM)
            self.observer.shared_memory(shm.f_blocks * shm.f_frsize, shm.f_bavail * shm.f_frsize)
            problems = self._inspector.look(self.videos)
        for problem in problems:
            _log.error("the memory bank is not what it must be: %s", problem)
        self.observer.broken(len(problems))

    def _parse(self, request: Request) -> Parsed | None:
        if request.envelope.error or not request.envelope.restores:
            return None
        return snapshot.parse(request.state, self.settings.variant, self.settings.limits, self.settings.identity)

    def _answer(self, requests: Sequence[Request], states: Sequence[Restored], respond: Respond[T]) -> list[T | MaskletError]:
        begin = monotonic()
        self._look([request.video_id for request in requests])
        engines = Engines(self.settings.variant, self._stages, self.settings.engine_limit, self._arrays, Stopwatch(), self._clean)
        admitted = []
        try:
            for request, state in zip(requests, states, strict=True):
                admitted.append(_caught(self._admission.admit, request, state))
                if request.end:  # at once, since the next request may begin a video of the same id; what is admitted holds the video
                    self._admission.end(request)
            made = iter(self._run([job for one in admitted if isinstance(one, Admitted) for job in one.decision.jobs], engines))
            shares = [[next(made) for _ in one.decision.jobs] if isinstance(one, Admitted) else [] for one in admitted]
            answers = [_caught(self._commit, *each, respond, engines.watch, begin) for each in zip(admitted, shares, strict=True)]
        finally:
            self.videos.settle(request.video_id for request in requests)
        self._observe(requests, answers, begin, engines.watch)
        return answers

    def _look(self, waiting: Sequence[VideoId]) -> None:
        self._admission.draining = _asked_to_drain(self.settings.drain_file)
        self.observer.draining(self._admission.draining)
        for _ in self.videos.expire(waiting):
            self.observer.ended("expired")

    def _run(self, jobs: list[Job], engines: Engines) -> list[Result | Failure]:
        """What became of each job."""
        try:
            return step(jobs, engines)
        except Exception as error:  # not in an engine's group, which `step` looks after
            _log.exception("an execution failed in the memory bank")
            return [Failure(f"{type(error).__name__}: {error}")] * len(jobs)

    def _commit(self, admitted: Admitted | MaskletError, made: Sequence[Result | Failure], respond: Respond[T], watch: Stopwatch, begin: float) -> T:
        """Answers, `made` being what became of the request's jobs; if that succeeds the video is what they make of it, else as before."""
        if isinstance(admitted, MaskletError):
            raise admitted
        request, video, replaced = admitted.request, admitted.video, admitted.replaced
        try:
            outcome = admitted.decision.outcome(video, _results(made))
            times = _times(request, begin, watch)
            envelope = replace(request.envelope, prompts=(), restores=False, objects=len(outcome.answers), times=times)
            response = respond(envelope, self._tensors(request, outcome))
        except BaseException:
            self._admission.withdraw(request, video, replaced)
            raise
        self.videos.change(request.video_id, video, outcome.video)
        if request.start:
            self.observer.started()
        if replaced is not None:
            self.observer.ended("replaced")
        self.observer.evicted(outcome.evicted)
        self.observer.tracked(answer.result for _, answer in outcome.answers)
        return response

    def _observe(self, requests: Sequence[Request], answers: Sequence[object], begin: float, watch: Stopwatch) -> None:
        """Tells the observer what became of the requests."""
        now = monotonic()
        for request, answer in zip(requests, answers, strict=True):
            if isinstance(answer, MaskletError):
                self.observer.refused(answer)
            elif request.envelope.size is not None:
                self.observer.answered(now - request.envelope.received)
                self.videos.took(now - request.envelope.received)
        self.observer.copied(self._arrays.copied)
        self.observer.executed(len(requests), watch, now - begin - sum(watch.seconds.values()))
        self.observer.holds(self.videos)

    def _tensors(self, request: Request, outcome: Outcome) -> dict[str, np.ndarray]:
        """The output tensors of one answer but ENVELOPE."""
        low, video = self.settings.variant.low_size, outcome.video
        results = [answer.result for _, answer in outcome.answers]
        asked = request.envelope.options.snapshot
        return {
            "FRAME_INDEX": np.array([-1 if video.frame is None else video.frame], np.int64),
            "OBJECT_IDS": np.array([object_id for object_id, _ in outcome.answers], np.int64),
            "SCORES": np.array([result.score for result in results], np.float32),
            "IOUS": np.array([result.iou for result in results], np.float32),
            "LOW": self._arrays.get(self._arrays.stack([result.low for result in results])) if results else np.zeros((0, low, low), np.float32),
            "SNAPSHOT": snapshot.dump(video, self.settings.identity, self._arrays) if asked else self._info(request.envelope),
            "DRAINING": np.array([self._admission.draining], np.uint8),
        }

    def _info(self, envelope: Envelope) -> np.ndarray:
        """What the request asks to be told of the server; mostly nothing."""
        told = about.told(self.settings, envelope.limits, self.videos, draining=self._admission.draining) if envelope.options.info else b""
        return np.frombuffer(told, np.uint8)


def _asked_to_drain(file: str) -> bool:
    """Whether the file is there, which takes a microsecond to see. Everybody can make one in a shared folder, so a stranger's says nothing."""
    try:
        return bool(file) and os.lstat(file).st_uid in (0, os.geteuid())  # of a link itself, since a stranger's may lead to a file of ours
    except OSError:
        return False


def _results(made: Sequence[Result | Failure]) -> list[Result]:
    """The results of one request's jobs, if there are all."""
    for one in made:
        if isinstance(one, Failure):
            raise ServerFault(f"{one.reason}. The frame changed nothing; send it again, and look at the server's log if it fails again.")
    return [one for one in made if isinstance(one, Result)]


def _caught(function: Callable[P, R], *arguments: P.args, **options: P.kwargs) -> R | MaskletError:
    """The error of one request is that request's answer: it touches no other in the batch."""
    try:
        return function(*arguments, **options)
    except MaskletError as error:
        return error
    except Exception:
        _log.exception("a request failed in the memory bank")
        return ServerFault("the memory bank failed on this request; the server's log says why. The request changed nothing.")


def _times(request: Request, begin: float, watch: Stopwatch) -> tuple[float, ...]:
    """The first six of TIMING_FIELDS, in milliseconds. The requests of one execution wait for one another, so its engine times are those of each."""
    envelope, took = request.envelope, watch.seconds
    seconds = {
        **{engine: took.get(engine, 0.0) for engine in ("memory_attention", "memory_encoder")},
        "mask_decoder": took.get("mask_decoder", 0.0) + took.get("mask_prompt", 0.0),
        "preprocess": envelope.preprocessed - envelope.received,
        "image_encoder": begin - envelope.preprocessed,
        "memory_bank": monotonic() - begin - sum(took.values()),
    }
    return tuple(1000 * seconds[name] for name in TIMING_FIELDS[:-1])

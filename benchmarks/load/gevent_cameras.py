"""Cameras on `masklet.Tracker` under gevent, in the process of locust. gRPC must have been told of gevent before: `grpc.experimental.gevent`."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable

import gevent
from gevent.pool import Group

from benchmarks.load.footage import Footage
from benchmarks.load.mix import Mix, VideoPlan
from benchmarks.load.schedule import RETRY_S, TIMEOUT_S, Batch, Ledger, Schedule
from masklet import MaskletError, Tracker, Video


class GeventCameras:
    """The cameras of one process. `tell` gets a batch every second."""

    def __init__(self, url: str, mix: Mix, worker: int, tell: Callable[[Batch], None]) -> None:
        self._tracker = Tracker(url, timeout_s=TIMEOUT_S)  # every video has its own channel and stream
        self._mix, self._worker = mix, worker
        # In a thread of the operating system, since it takes seconds and a worker that is silent is given up for dead.
        self._footage = gevent.get_hub().threadpool.apply(Footage, (mix,))
        self._ledger = Ledger()
        self._teller = gevent.spawn(self._tell, tell)

    def run(self, slot: int) -> None:
        """One video after the other, until the greenlet is killed; then returns when the server has answered every END."""
        endings = Group()
        begin = time.monotonic()
        try:
            for count in itertools.count():
                plan = self._mix.plan(self._worker, slot, count)
                begin = _Film(plan, self._tracker, self._footage, self._ledger, endings).roll(begin)
        finally:
            endings.join()

    def stop(self) -> None:
        """After the last camera."""
        self._teller.kill()

    def _tell(self, tell: Callable[[Batch], None]) -> None:
        while True:
            gevent.sleep(1)
            tell(self._ledger.take())


class _Film:
    """One video."""

    def __init__(self, plan: VideoPlan, tracker: Tracker, footage: Footage, ledger: Ledger, endings: Group) -> None:
        self._plan, self._reel = plan, footage.reel(plan)
        self._tracker, self._ledger, self._endings = tracker, ledger, endings
        self._unanswered = 0
        self._failed = False

    def roll(self, begin: float) -> float:
        """Sends the frames when they are due, never waiting for an answer, then END. Returns when the next video may begin."""
        schedule, video, number = Schedule(begin + self._plan.phase_s, self._plan.fps), None, None
        try:
            for index in range(self._plan.frames):
                due = schedule.due(index)
                number = self._ledger.expect(due)
                video = video or self._tracker.open()
                gevent.sleep(max(0.0, due - time.monotonic()))
                if self._failed:
                    return time.monotonic() + RETRY_S
                if self._unanswered < schedule.most_unanswered:
                    self._unanswered += 1
                    gevent.spawn(self._frame, video, index, number)
                else:
                    self._ledger.settle(number, time.monotonic(), error="dropped: the camera's buffer is full")
                number = None
            return schedule.due(self._plan.frames)
        finally:
            if number is not None:
                self._ledger.cancel(number)
            if video:
                self._endings.spawn(self._end, video)

    def _frame(self, video: Video, index: int, number: int) -> None:
        sent = time.monotonic()
        try:
            for object_id, click in self._reel.prompts(self._plan, index):
                video.prompt(object_id, points=[click])
            video.track(self._reel.frame(index))
            self._ledger.settle(number, sent, answered=time.monotonic())
        except MaskletError as error:
            self._failed = True
            self._ledger.settle(number, sent, error=type(error).__name__)
        finally:
            self._unanswered -= 1

    def _end(self, video: Video) -> None:
        now = time.monotonic()
        number = self._ledger.expect(now)
        try:
            video.close()
            self._ledger.settle(number, now, kind="END", answered=time.monotonic())
        except MaskletError as error:
            self._ledger.settle(number, now, kind="END", error=type(error).__name__)

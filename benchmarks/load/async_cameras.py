"""The same cameras on `masklet.AsyncTracker`: a process of its own, free of locust, since gevent and gRPC's asyncio cannot share one.

It reads one word and a number from each line of its standard input ("on 3", "off 3": camera 3), writes a batch as a line of JSON every second, and
ends its videos and itself when its input closes.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import sys
import time
from collections.abc import Coroutine

from benchmarks.load.footage import Footage
from benchmarks.load.mix import Mix, VideoPlan
from benchmarks.load.schedule import RETRY_S, TIMEOUT_S, Ledger, Schedule
from masklet import AsyncTracker, AsyncVideo, MaskletError

_FAREWELL_S = TIMEOUT_S + 2.0


class Cameras:
    """The cameras of this process."""

    def __init__(self, url: str, mix: Mix, worker: int) -> None:
        self._tracker = AsyncTracker(url, timeout_s=TIMEOUT_S)  # every video has its own channel and stream
        self._mix, self._worker, self._footage = mix, worker, Footage(mix)
        self._running: dict[int, asyncio.Task[None]] = {}
        self.ledger = Ledger()
        self.tasks: set[asyncio.Task[None]] = set()  # frames and ENDs on their way: a task that nobody holds may vanish

    def obey(self, order: str) -> None:
        """Switches a camera on or off."""
        word, slot = order.split()
        if word == "on":
            self._running[int(slot)] = asyncio.create_task(self._run(int(slot)))
        else:
            self._running.pop(int(slot)).cancel()

    async def stop(self) -> None:
        """Switches all cameras off and waits for the answers."""
        for task in self._running.values():
            task.cancel()
        await asyncio.gather(*self._running.values(), return_exceptions=True)
        if self.tasks:
            await asyncio.wait(self.tasks, timeout=_FAREWELL_S)

    async def _run(self, slot: int) -> None:
        begin = time.monotonic()
        for count in itertools.count():
            begin = await _Film(self._mix.plan(self._worker, slot, count), self._tracker, self._footage, self.ledger, self.tasks).roll(begin)


class _Film:
    """One video. See `gevent_cameras`: the two differ in what waits."""

    def __init__(self, plan: VideoPlan, tracker: AsyncTracker, footage: Footage, ledger: Ledger, tasks: set[asyncio.Task[None]]) -> None:
        self._plan, self._reel = plan, footage.reel(plan)
        self._tracker, self._ledger, self._tasks = tracker, ledger, tasks
        self._unanswered = 0
        self._failed = False

    async def roll(self, begin: float) -> float:
        """Sends the frames when they are due, never waiting for an answer, then END. Returns when the next video may begin."""
        schedule, video, number = Schedule(begin + self._plan.phase_s, self._plan.fps), None, None
        try:
            for index in range(self._plan.frames):
                due = schedule.due(index)
                number = self._ledger.expect(due)
                video = video or await self._tracker.open()
                await asyncio.sleep(max(0.0, due - time.monotonic()))
                if self._failed:
                    return time.monotonic() + RETRY_S
                if self._unanswered < schedule.most_unanswered:
                    self._unanswered += 1
                    self._spawn(self._frame(video, index, number))
                else:
                    self._ledger.settle(number, time.monotonic(), error="dropped: the camera's buffer is full")
                number = None
            return schedule.due(self._plan.frames)
        finally:
            if number is not None:
                self._ledger.cancel(number)
            if video:
                self._spawn(self._end(video))

    def _spawn(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _frame(self, video: AsyncVideo, index: int, number: int) -> None:
        sent = time.monotonic()
        try:
            for object_id, click in self._reel.prompts(self._plan, index):
                video.prompt(object_id, points=[click])
            await video.track(self._reel.frame(index))
            self._ledger.settle(number, sent, answered=time.monotonic())
        except MaskletError as error:
            self._failed = True
            self._ledger.settle(number, sent, error=type(error).__name__)
        finally:
            self._unanswered -= 1

    async def _end(self, video: AsyncVideo) -> None:
        now = time.monotonic()
        number = self._ledger.expect(now)
        try:
            await video.close()
            self._ledger.settle(number, now, kind="END", answered=time.monotonic())
        except MaskletError as error:
            self._ledger.settle(number, now, kind="END", error=type(error).__name__)


async def _tell(ledger: Ledger) -> None:
    while True:
        await asyncio.sleep(1)
        print(json.dumps(ledger.take().plain()), flush=True)


async def _main(url: str, mix: Mix, worker: int) -> None:
    cameras = Cameras(url, mix, worker)
    orders = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(orders), sys.stdin)
    teller = asyncio.create_task(_tell(cameras.ledger))
    print("ready", flush=True)
    while order := await orders.readline():
        cameras.obey(order.decode())
    await cameras.stop()
    teller.cancel()


if __name__ == "__main__":
    given = json.loads(sys.argv[1])
    asyncio.run(_main(given["url"], Mix.read(given["mix"]), given["worker"]))

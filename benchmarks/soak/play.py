"""One video from its first frame to its end, written once: for asyncio, and for threads, whose calls block."""

from __future__ import annotations

import asyncio
import random
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import Any

from benchmarks.films import digest
from benchmarks.soak.record import LOST, REFUSED, STOPPED, WHOLE
from benchmarks.soak.scripts import Script, Step
from masklet import MaskletError, ServerBusy, Tracker, Video

_AGAIN_S = 1.0  # after a server that has no room
_MOVES = 0.02  # chance per frame that the owner goes on elsewhere from a snapshot
Say = Callable[[dict[str, Any]], None]


@dataclass(frozen=True)
class Part:
    """What one video plays.

    name    of the video, for those who listen
    number  of the script
    wanted  of its steps
    moves   before these the owner takes a snapshot, and goes on from it in another video
    """

    name: int
    number: int
    script: Script
    wanted: int
    resilient: bool
    moves: frozenset[int]


def draw(chance: random.Random, name: int, scripts: list[Script], resilient: float) -> Part:
    """A part: mostly short, a few as long as their scripts. resilient: the chance that it is."""
    number = chance.randrange(len(scripts))
    longest = len(scripts[number].steps)
    wanted = longest if chance.random() < 0.1 else chance.randint(1, max(1, longest // 3))
    moves = frozenset(place for place in range(1, wanted) if chance.random() < _MOVES)
    return Part(name, number, scripts[number], wanted, chance.random() < resilient, moves)


class Blocking:
    """A tracker of threads whose methods are awaited."""

    def __init__(self, url: str) -> None:
        self._tracker = Tracker(url)

    async def open(self, **given: Any) -> _BlockingVideo:
        """See `Tracker.open`."""
        return _BlockingVideo(self._tracker.open(**given))


class _BlockingVideo:
    def __init__(self, video: Video) -> None:
        self._video = video
        self.prompt = video.prompt

    @property
    def video_id(self) -> int | str:
        return self._video.video_id

    @property
    def interruptions(self) -> list[Any]:
        return self._video.interruptions

    async def remove(self, object_id: int) -> None:
        self._video.remove(object_id)

    async def track(self, frame: Any, refine: bool) -> Any:
        return self._video.track(frame, refine=refine)

    async def snapshot(self) -> bytes:
        return self._video.snapshot()

    async def close(self) -> None:
        self._video.close()


class Player:
    """Plays one part through a tracker, `Blocking` or an AsyncTracker, and tells what comes of it.

    fps       frames are sent at this rate, or as soon as the answer before is there
    stopping  ends it after the next answer
    """

    def __init__(self, tracker: Any, part: Part, fps: float, stopping: threading.Event, say: Say) -> None:
        self._tracker, self._part, self._fps, self._stopping, self._say = tracker, part, fps, stopping, say
        self._video: Any = None
        self._answered = 0
        self._interruptions: list[Any] = []

    async def play(self) -> None:
        """Until its end, whatever that is."""
        part = self._part
        self._said("begin", script=part.number, wanted=part.wanted, resilient=part.resilient)
        how, error = STOPPED, ""
        while not self._stopping.is_set():
            try:
                how, error = await self._steps(), ""
                break
            except ServerBusy as busy:
                how, error = (LOST if self._answered else REFUSED), _text(busy)
                if self._answered:
                    break
                self._said("busy")
                await asyncio.sleep(_AGAIN_S)
            except MaskletError as lost:
                how, error = LOST, _text(lost)
                break
            finally:
                await self._close()
        self._said("end", how=how, error=error, interruptions=[asdict(one) for one in self._interruptions])

    def _said(self, what: str, **more: Any) -> None:
        self._say({"what": what, "video": self._part.name, "at": time.time(), **more})

    async def _steps(self) -> str:
        part, due = self._part, time.monotonic()
        self._video = await self._tracker.open(resilient=part.resilient)
        self._said("opened", id=self._video.video_id)
        for place, step in enumerate(part.script.steps[: part.wanted]):
            if self._stopping.is_set():
                return STOPPED
            if place in part.moves:
                await self._move()
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            await self._step(step)
            due = max(due + 1 / self._fps, time.monotonic())
        return WHOLE

    async def _step(self, step: Step) -> None:
        for object_id in step.removals:
            await self._video.remove(object_id)
        for prompt in step.prompts:
            self._video.prompt(**prompt)
        begin = time.monotonic()
        result = await self._video.track(step.frame, refine=step.refine)
        self._answered += 1
        self._said("answer", index=result.frame_index, digest=digest(result), waited=time.monotonic() - begin)

    async def _move(self) -> None:
        """Goes on in another video, wherever there is room; else here."""
        state = await self._video.snapshot()
        try:
            moved = await self._tracker.open(state=state, resilient=self._part.resilient)
        except ServerBusy:
            return
        await self._close()
        self._video = moved
        self._said("moved", id=moved.video_id)

    async def _close(self) -> None:
        video, self._video = self._video, None
        if video:
            self._interruptions += video.interruptions
            with suppress(MaskletError):  # every frame that was wanted is there, or its error was told
                await video.close()


def _text(error: MaskletError) -> str:
    return f"{type(error).__name__}: {error}"[:400]

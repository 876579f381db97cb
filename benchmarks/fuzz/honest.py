"""Videos of people who mean no harm: every answer must be that of the video alone."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from benchmarks.films import Film, digest, film
from benchmarks.fuzz.attackers import ANSWER_S
from benchmarks.fuzz.registry import World
from masklet import MaskletError, Tracker
from masklet.errors import ServerBusy

VIDEOS, FRAMES = 4, 48
_AGAIN_S = 1.0  # after a server that has no room


@dataclass
class Witness:
    """What one honest video has seen. Written by its thread only.

    compared  answers that were compared
    wrong     those that were not as alone, or came under another index: "film 1, frame 20"
    failed    requests that got an error instead, and what it said
    films     how often its film was tracked whole
    busy      how often it found no place and came again
    waited    seconds that each answer took
    """

    compared: int = 0
    wrong: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    films: int = 0
    busy: int = 0
    waited: list[float] = field(default_factory=list)


def films() -> list[Film]:
    """What the honest videos show."""
    return [film(number, FRAMES) for number in range(VIDEOS)]


def alone(url: str, each: Film) -> list[tuple[int, str]]:
    """Index and digest of every answer of a film when nothing else is there. Raises MaskletError."""
    with Tracker(url, timeout_s=ANSWER_S) as tracker, tracker.open() as video:
        video.prompt(1, points=[each.click])
        return [(result.frame_index, digest(result)) for result in (video.track(frame) for frame in each.frames)]


class Honest(threading.Thread):
    """Tracks a film at a steady rate again and again until told to stop; after an error it begins anew.

    expected  what `alone` gave
    """

    def __init__(
        self,
        number: int,
        each: Film,
        expected: Sequence[tuple[int, str]],
        url: Callable[[], str],
        world: World,
        fps: float,
        stopping: threading.Event,
    ) -> None:
        super().__init__(daemon=True)
        self.seen = Witness()
        self._number, self._film, self._expected, self._url, self._world = number, each, expected, url, world
        self._fps, self._stopping = fps, stopping

    def run(self) -> None:
        """Film after film."""
        while not self._stopping.is_set():
            try:
                self._play()
            except ServerBusy:
                self.seen.busy += 1
                self._stopping.wait(_AGAIN_S)
            except MaskletError as error:
                self.seen.failed.append(f"film {self._number}: {type(error).__name__}: {error}")
                self._stopping.wait(_AGAIN_S)

    def _play(self) -> None:
        tracker = Tracker(self._url(), timeout_s=ANSWER_S)
        video = tracker.open()
        self._world.honest.append(video.video_id)
        try:
            video.prompt(1, points=[self._film.click])
            for index, frame in enumerate(self._film.frames):
                if self._stopping.is_set():
                    return
                begin = time.monotonic()
                result = video.track(frame)
                self.seen.waited.append(time.monotonic() - begin)
                self.seen.compared += 1
                if (result.frame_index, digest(result)) != self._expected[index]:
                    self.seen.wrong.append(f"film {self._number}, frame {index}")
                self._stopping.wait(max(0.0, begin + 1 / self._fps - time.monotonic()))
            self.seen.films += 1
        finally:
            self._world.honest.remove(video.video_id)
            with suppress(MaskletError):  # said already, if it was lost before
                tracker.close()

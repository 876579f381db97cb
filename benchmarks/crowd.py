"""Many videos of one server at full speed, from one asyncio process of their own: whoever shares an interpreter with its owner is late.

The process reads how many frames each video is to track, a line each, from its standard input, and answers each with the seconds that it took.
"""

from __future__ import annotations

import asyncio
import itertools
import subprocess
import sys
import time
from collections.abc import Iterator

from benchmarks import ROOT
from benchmarks.steady import STEADY, Setting
from masklet import AsyncTracker, AsyncVideo

IN_FLIGHT = 4
_READY = "ready"


class Crowd:
    """The process, as its owner sees it; a context manager. All videos have begun, and their memories are full, when it is made.

    Raises RuntimeError where the process ended; it has said why on standard error.
    """

    def __init__(self, url: str, videos: int, setting: Setting) -> None:
        words = [url, *map(str, (videos, setting.objects, setting.height, setting.width))]
        command = [sys.executable, "-m", "benchmarks.crowd", *words]
        self._process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        if self._answer() != _READY:
            raise AssertionError("the process of the videos said something else than that it is ready")

    @property
    def pid(self) -> int:
        """Process id of the generator."""
        return self._process.pid

    def track(self, frames: int) -> float:
        """Each video tracks so many frames, IN_FLIGHT of them on their way at a time. Seconds from the first request to the last answer."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{frames}\n")
        self._process.stdin.flush()
        return float(self._answer())

    def _answer(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline().strip()
        if not line:
            raise RuntimeError(f"the process of the videos ended with exit code {self._process.wait()}; its error is above.")
        return line

    def __enter__(self) -> Crowd:
        return self

    def __exit__(self, *error: object) -> None:
        self._process.communicate()  # closes its input, upon which it ends its videos


async def begun(tracker: AsyncTracker, setting: Setting) -> tuple[AsyncVideo, Iterator[bytes]]:
    """A video with a click on every object, tracked until its memories are full; and its further frames."""
    first, later = setting.files()
    video = await tracker.open()
    for object_id, point in enumerate(setting.clicks, 1):
        video.prompt(object_id, points=[point])
    await video.track(first)
    await track(video, later, STEADY)
    return video, later


async def track(video: AsyncVideo, frames: Iterator[bytes], count: int) -> None:
    """Tracks the next `count` frames."""
    async for _ in video.track_many(itertools.islice(frames, count), IN_FLIGHT):
        pass


async def _obey(url: str, videos: int, setting: Setting) -> None:
    async with AsyncTracker(url, timeout_s=120) as tracker:
        crowd = await asyncio.gather(*(begun(tracker, setting) for _ in range(videos)))
        print(_READY, flush=True)
        loop = asyncio.get_running_loop()
        while order := await loop.run_in_executor(None, sys.stdin.readline):
            begin = time.perf_counter()
            await asyncio.gather(*(track(video, frames, int(order)) for video, frames in crowd))
            print(time.perf_counter() - begin, flush=True)


if __name__ == "__main__":
    asyncio.run(_obey(sys.argv[1], int(sys.argv[2]), Setting(*map(int, sys.argv[3:]))))

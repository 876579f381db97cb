"""What the benchmarks track, a clip that never ends; and how they take turns."""

from __future__ import annotations

import argparse
import io
import itertools
import os
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np
from PIL import Image

from masklet.inputs import FrameLike
from masklet.video import Video
from masklet_build.clips import inner_point, make_clip

STEADY = 20  # frames after which every memory and pointer is in place
REST_S = 0.2  # between blocks, until the threads of the one before have stopped waiting for work
JPEG_QUALITY = 90

T = TypeVar("T")


@dataclass
class Setting:
    """So many objects of one clip, which runs to and fro for ever. `clicks`: a point on each object in the first frame, x and y in pixels."""

    objects: int
    height: int = 360
    width: int = 640
    frames: list[np.ndarray] = field(init=False)  # as their JPEG files show them
    clicks: list[tuple[int, int]] = field(init=False)

    def __post_init__(self) -> None:
        made = make_clip("test", 1, frames=16, height=self.height, width=self.width, objects=self.objects)
        self._files, self.clicks = [jpeg(frame) for frame in made.frames], [inner_point(mask) for mask in made.masks[0]]
        self.frames = [np.array(Image.open(io.BytesIO(file))) for file in self._files]

    def later_frames(self) -> Iterator[np.ndarray]:
        """The frames after the first."""
        return to_and_fro(self.frames)

    def files(self) -> tuple[bytes, Iterator[bytes]]:
        """The first frame as a JPEG file, and those after it."""
        return self._files[0], to_and_fro(self._files)


def begin(video: Video, setting: Setting, *, jpeg: bool) -> Iterator[FrameLike]:
    """Clicks every object on the first frame, and tracks that. Gives the frames after it, as JPEG files or as they are."""
    for object_id, point in enumerate(setting.clicks, 1):
        video.prompt(object_id, points=[point])
    first, later = setting.files() if jpeg else (setting.frames[0], setting.later_frames())
    video.track(first)
    return later


def to_and_fro(frames: list[T]) -> Iterator[T]:
    """What follows the first frame, for ever."""
    return itertools.islice(itertools.cycle([*frames, *frames[-2:0:-1]]), 1, None)


def jpeg(frame: np.ndarray) -> bytes:
    """A JPEG file of a frame (H, W, 3) uint8."""
    file = io.BytesIO()
    Image.fromarray(frame).save(file, "JPEG", quality=JPEG_QUALITY)
    return file.getvalue()


def take_turns(blocks: Mapping[str, Callable[[], None]], rounds: int, ended: Callable[[int], None]) -> None:
    """Lets the blocks take turns, in another order each round; `ended` is called with the number of each round, from 1 on."""
    order = list(blocks)
    for number in range(1, rounds + 1):
        for name in order:
            time.sleep(REST_S)
            blocks[name]()
        order = [*order[1:], order[0]]
        ended(number)


def keep_to(threads: int, parser: argparse.ArgumentParser) -> float:
    """Keeps this process and those that it starts on so many CPUs; where there are fewer, the parser ends it. Returns the load average before."""
    cpus = sorted(os.sched_getaffinity(0))
    if not 1 <= threads <= len(cpus):
        parser.error(f"--threads {threads}: this process may use {len(cpus)} CPUs.")
    os.sched_setaffinity(0, cpus[:threads])
    return os.getloadavg()[0]

"""What the cameras are like: sizes, frame rates, objects and lifetimes, drawn evenly and the same in every run."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass
from typing import Any

_STEPS = (math.sqrt(5) / 2 - 0.5, math.sqrt(7) - 2, math.sqrt(13) / 2 - 1.5)  # multiples of each fill 0 to 1 evenly, and know nothing of each other
_SEED = 7


@dataclass(frozen=True)
class VideoPlan:
    """One video of a camera.

    size          width and height in pixels
    fps           frames per second
    objects       prompted on frame 0
    frames        until END
    phase_s       how long after the camera is switched on frame 0 is due, below one frame period
    corrected_at  the frame on which the first object is clicked again; None: never
    """

    size: tuple[int, int]
    fps: float
    objects: int
    frames: int
    phase_s: float
    corrected_at: int | None


@dataclass(frozen=True)
class Mix:
    """What videos are drawn from. A value that is listed twice is drawn twice as often.

    lifetime_s  shortest and longest video in seconds
    corrected   share of the videos in which an object is clicked again half way
    """

    sizes: tuple[tuple[int, int], ...]
    fps: tuple[float, ...]
    objects: tuple[int, ...]
    lifetime_s: tuple[float, float]
    corrected: float

    @classmethod
    def parse(cls, sizes: str, fps: str, objects: str, lifetime_s: str, corrected: float) -> Mix:
        """From the words of a command line: "640x360,1280x720", "10,25", "1,2", "10-40". Raises ValueError."""
        try:
            made = cls(
                tuple((int(width), int(height)) for width, height in (size.split("x") for size in sizes.split(","))),
                tuple(float(rate) for rate in fps.split(",")),
                tuple(int(count) for count in objects.split(",")),
                tuple(float(seconds) for seconds in lifetime_s.split("-")),
                corrected,
            )
            shortest, longest = made.lifetime_s
        except ValueError as error:
            example = "such as 640x360,1280x720 and 10,25 and 1,2 and 10-40"
            raise ValueError(f"sizes {sizes}, fps {fps}, objects {objects} and lifetime {lifetime_s} must be lists {example}.") from error
        if min(*made.fps, *made.objects, shortest) <= 0 or shortest > longest or not 0 <= corrected <= 1:
            raise ValueError(f"rates, objects and lifetimes must be above 0, the longest not below the shortest, shares from 0 to 1: {made}.")
        return made

    @classmethod
    def read(cls, plain: dict[str, Any]) -> Mix:
        """The mix that was sent to another process as JSON."""
        tuples = {name: tuple(plain[name]) for name in ("fps", "objects", "lifetime_s")}
        return cls(**plain | tuples | {"sizes": tuple((width, height) for width, height in plain["sizes"])})

    def plan(self, worker: int, slot: int, count: int) -> VideoPlan:
        """The video number `count` of camera `slot` of generator process `worker`.

        The first n cameras of a process have each size, rate and number of objects in its share, as nearly as n allows: else a level of the search
        could be easier than the one below it.
        """
        number = slot + 61 * count + 1009 * worker
        size, fps, objects = (
            values[int((0.5 + number * step) % 1 * len(values))] for values, step in zip((self.sizes, self.fps, self.objects), _STEPS, strict=True)
        )
        dice = random.Random(f"{_SEED} {worker} {slot} {count}")
        life = dice.uniform(*self.lifetime_s)
        if count == 0:  # it began before we came; else all videos of a run would end together
            life *= dice.random()
        frames = max(2, round(life * fps))
        return VideoPlan(size, fps, objects, frames, dice.random() / fps, frames // 2 if dice.random() < self.corrected else None)

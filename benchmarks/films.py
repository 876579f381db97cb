"""Videos that are sent at a steady rate, and what came back for every frame, short enough to compare."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from masklet import AsyncTracker, MaskletError, TrackedFrame
from masklet_build.clips import inner_point, make_clip

SIZE = (96, 128)
Gate = Callable[[int], Awaitable[None]]


@dataclass(frozen=True)
class Film:
    """Frames (H, W, 3) uint8, and the click on the first of them."""

    frames: Sequence[NDArray[np.uint8]]
    click: tuple[int, int]

    def first(self, frames: int) -> Film:
        """Its first frames."""
        return Film(self.frames[:frames], self.click)


@dataclass
class Played:
    """What became of a film.

    answers        of each answered frame: its index, and a digest of its masks, boxes, scores and predicted IoUs
    error          why it ended early; empty where it did not
    interruptions  what the client says of them (`Video.interruptions`)
    """

    answers: list[tuple[int, str]] = field(default_factory=list)
    error: str = ""
    interruptions: list[Any] = field(default_factory=list)


def film(number: int, frames: int) -> Film:
    """A drawn clip; every number has its own."""
    clip = make_clip("test", number, frames=frames, height=SIZE[0], width=SIZE[1], objects=1)
    return Film(list(clip.frames), inner_point(clip.masks[0, 0]))


async def play(tracker: AsyncTracker, film: Film, fps: float, gate: Gate | None = None, **opened: Any) -> Played:
    """Sends a film, each frame when it is due or, where the answer before it is late, as soon as that has come.

    gate    is awaited with the index of a frame before that is sent; the frames after it are due as much later
    opened  for `open`
    """
    played, begin = Played(), time.monotonic()
    try:
        async with tracker.open(**opened) as video:
            video.prompt(1, points=[film.click])
            for index, frame in enumerate(film.frames):
                await asyncio.sleep(begin + index / fps - time.monotonic())
                if gate:
                    before = time.monotonic()
                    await gate(index)
                    begin += time.monotonic() - before
                result = await video.track(frame)
                played.answers.append((result.frame_index, digest(result)))
            played.interruptions = list(getattr(video, "interruptions", ()))
    except MaskletError as error:
        played.error = f"{type(error).__name__}: {error}"
    return played


async def play_all(url: str, films: Sequence[Film], fps: float, *, timeout_s: float = 30, **opened: Any) -> list[Played]:
    """All films at once, out of step with each other."""

    async def late(tracker: AsyncTracker, number: int) -> Played:
        await asyncio.sleep(number / len(films) / fps)
        return await play(tracker, films[number], fps, **opened)

    async with AsyncTracker(url, timeout_s=timeout_s) as tracker:
        return await asyncio.gather(*(late(tracker, number) for number in range(len(films))))


def digest(result: TrackedFrame) -> str:
    """Of everything that a frame's answer says of its objects, to the last bit."""
    made = hashlib.blake2b(digest_size=12)
    for part in (np.array(result.object_ids), np.packbits(result.masks), result.boxes, result.scores, result.ious):
        made.update(np.ascontiguousarray(part).tobytes())
    return made.hexdigest()

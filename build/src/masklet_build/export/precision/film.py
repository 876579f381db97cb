"""Real frames through the whole step, with real memories: what the range scan looks at."""

from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
from PIL import Image

from masklet.families import Variant
from masklet.tracker import Tracker
from masklet.video import Video
from masklet_build.clips import make_clip
from masklet_build.export.precision.frames import Film
from masklet_build.in_process import InProcess, Stages

FRAMES = 10  # of the drawn clip: all ordinary memories are there from frame 7 on
_CLIP = 1  # of the validation clips; the test clips stay for judging masks


def drawn_film(side: int) -> list[np.ndarray]:
    """Frames of a drawn clip, uint8 [side, side, 3]."""
    return list(make_clip("validation", _CLIP, frames=FRAMES, height=side, width=side).frames)


def show(variant: Variant, stages: Stages, film: Film, progress: Callable[[str], None]) -> None:
    """Tracks three objects through the film, prompted in every way there is, so that every part of every engine runs.

    The objects are where a click, a box and a disc in the middle say; what is there does not matter to the size of numbers. The click is corrected
    at once, which makes its mask a prompt, and so is the frame in the middle of the film, where the object was tracked.
    """
    with Tracker("in this process", transport=InProcess(variant, stages)) as tracker, tracker.open() as video:
        for index, frame in enumerate(film):
            progress(f"range scan: frame {index + 1} of {len(film)}")
            if index == 0:
                height, width = _size(frame)
                _prompt(video, height, width)
            video.track(frame)
            if index in (0, len(film) // 2):
                video.prompt(1, points=[(0.3 * width, 0.6 * height)], labels=[0], append=True)
                video.track(frame, refine=True)


def _prompt(video: Video, height: int, width: int) -> None:
    rows, columns = np.mgrid[:height, :width]
    disc = ((rows / height - 0.5) ** 2 + (columns / width - 0.5) ** 2) < 0.04
    video.prompt(1, points=[(0.5 * width, 0.5 * height)])
    video.prompt(2, box=(0.25 * width, 0.25 * height, 0.75 * width, 0.75 * height))
    video.prompt(3, mask=disc)


def _size(frame: np.ndarray | bytes) -> tuple[int, int]:
    if isinstance(frame, np.ndarray):
        return int(frame.shape[0]), int(frame.shape[1])
    with Image.open(io.BytesIO(frame)) as image:
        return image.height, image.width

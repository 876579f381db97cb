"""Where frames come from: video files, folders of images, cameras."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from masklet.cli.failure import Failure, need
from masklet.overlay import Image

_IMAGES = {".jpg", ".jpeg", ".png", ".webp", ".bmp"}
_IMAGES_FPS = 25.0


@dataclass(frozen=True)
class Source:
    """Frames, uint8 (H, W, 3) RGB, one after the other.

    count  how many there are, None if nobody knows
    live   they come from a camera and do not end
    """

    frames: Iterator[Image]
    fps: float
    count: int | None
    live: bool = False


def open_source(video: str) -> AbstractContextManager[Source]:
    """The frames of a file, a folder or a camera number. Raises Failure when entered."""
    if video.isdecimal() and not Path(video).exists():
        return _video(f"/dev/video{video}", format="v4l2")
    return _images(Path(video)) if Path(video).is_dir() else _video(video)


@contextmanager
def _images(folder: Path) -> Iterator[Source]:
    files = natural_order(file for file in folder.iterdir() if file.suffix.lower() in _IMAGES)
    if not files:
        raise Failure(f"{folder} holds no images ({', '.join(sorted(_IMAGES))}).")
    yield Source((read_image(file) for file in files), _IMAGES_FPS, len(files))


def natural_order(files: Iterator[Path]) -> list[Path]:
    """The files by name, numbers in names by value: 2.jpg before 10.jpg."""
    return sorted(
        files, key=lambda file: [(part.isdecimal(), int(part) if part.isdecimal() else 0, part.lower()) for part in re.split(r"(\d+)", file.name)]
    )


def read_image(file: Path) -> Image:
    """The pixels of an image file as stored, without EXIF rotation, like the server reads them: of 16-bit grey the upper eight bits."""
    with need("PIL.Image").open(file) as image:
        if image.mode.startswith("I"):  # "I;16", or "I" where Pillow is old
            return np.repeat((np.asarray(image) >> 8).astype(np.uint8)[:, :, None], 3, axis=2)
        return np.asarray(image.convert("RGB"))


@contextmanager
def _video(path: str, format: str | None = None) -> Iterator[Source]:
    av = need("av")
    try:
        container = av.open(path, format=format)
    except av.FFmpegError as error:
        raise Failure(f"{path} cannot be opened as a video: {error}") from error
    with container:
        if not container.streams.video:
            raise Failure(f"{path} holds no video.")
        stream = container.streams.video[0]
        stream.thread_type = "AUTO"
        yield Source(_decoded(av, container, path), float(stream.average_rate or _IMAGES_FPS), stream.frames or None, live=format is not None)


def _decoded(av: Any, container: Any, path: str) -> Iterator[Image]:
    try:
        for frame in container.decode(video=0):
            yield frame.to_ndarray(format="rgb24")
    except av.FFmpegError as error:
        raise Failure(f"{path} cannot be decoded: {error}") from error

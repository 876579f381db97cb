"""What `masklet track` writes: indexed masks, run lengths, an overlay video."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any, TextIO

import numpy as np
from numpy.typing import NDArray

from masklet import rle
from masklet.cli.failure import Failure, need
from masklet.overlay import Image, colour, overlay
from masklet.results import TrackedFrame


class Writer:
    """Writes the results of a video into a folder, frame by frame; what is there stays when the work is cut short. Raises Failure, OSError.

    Nothing is made before the first frame, so that a failed start leaves no folder behind.
    """

    def __init__(self, folder: Path, fps: float) -> None:
        if folder.exists() and any(folder.iterdir()):
            raise Failure(f"{folder} is not empty. Choose another folder for the results.")
        self._image = need("PIL.Image")
        self._folder = folder
        self._masks = folder / "masks"
        self._lines: TextIO | None = None
        self._film = Film(folder / "overlay.mp4", fps)

    def write(self, frame: Image, result: TrackedFrame) -> None:
        """Adds one frame."""
        if self._lines is None:
            self._masks.mkdir(parents=True)
            self._lines = (self._folder / "masks.jsonl").open("w", encoding="utf-8")
        self._film.add(overlay(frame, result.masks, result.object_ids))
        picture = self._image.fromarray(indexed(frame.shape[:2], result))
        picture.putpalette([0, 0, 0, *(channel for object_id in range(1, 256) for channel in colour(object_id))])
        picture.save(self._masks / f"{result.frame_index:05}.png")
        self._lines.write(json.dumps(line(result)) + "\n")

    def __enter__(self) -> Writer:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        if self._lines:
            self._lines.close()
        self._film.close()


def indexed(size: tuple[int, ...], result: TrackedFrame) -> NDArray[np.uint8]:
    """The masks as one uint8 image (H, W): 0 or an object id up to 255; a later object covers an earlier one."""
    image = np.zeros(size, dtype=np.uint8)
    for object_id, mask in zip(result.object_ids, result.masks, strict=True):
        image[mask] = object_id
    return image


def line(result: TrackedFrame) -> dict[str, Any]:
    """The line of `masks.jsonl` for a frame."""
    rows = zip(result.object_ids, result.masks, result.boxes.tolist(), result.scores.tolist(), result.ious.tolist(), strict=True)
    objects = [{"object": object_id, "mask": rle.encode(mask), "box": box, "score": score, "iou": iou} for object_id, mask, box, score, iou in rows]
    return {"frame": result.frame_index, "objects": objects}


class Film:
    """An mp4 file: H.264 where PyAV has an encoder for it, else MPEG-4. Made with the first frame; odd sizes lose a row or column."""

    def __init__(self, file: Path, fps: float) -> None:
        self._av = need("av")
        self._file = file
        self._fps = Fraction(fps).limit_denominator(1001)
        self._container: Any = None
        self._stream: Any = None

    def add(self, frame: Image) -> None:
        """Adds a frame, uint8 (H, W, 3) RGB. All must have one size."""
        height, width = (side - side % 2 for side in frame.shape[:2])  # colour is stored for 2 x 2 pixels
        if self._container is None:
            self._start(height, width)
        if (height, width) != (self._stream.height, self._stream.width):
            raise Failure(f"the frames have different sizes: {self._stream.height} x {self._stream.width}, then {height} x {width} (height x width).")
        picture = self._av.VideoFrame.from_ndarray(np.ascontiguousarray(frame[:height, :width]), format="rgb24")
        self._container.mux(self._stream.encode(picture))

    def close(self) -> None:
        """Finishes the file. There is none if no frame was added."""
        if self._container is None:
            return
        self._container.mux(self._stream.encode())
        self._container.close()

    def _start(self, height: int, width: int) -> None:
        codec = "libx264" if "libx264" in self._av.codecs_available else "mpeg4"
        self._container = self._av.open(str(self._file), "w")
        self._stream = self._container.add_stream(codec, rate=self._fps)
        self._stream.height, self._stream.width, self._stream.pix_fmt = height, width, "yuv420p"
        if codec == "mpeg4":
            self._stream.bit_rate = 8_000_000  # its default is too low to look at

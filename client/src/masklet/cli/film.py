"""A video file made of pictures and their times."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from masklet.cli.failure import need
from masklet.overlay import Image

_TICKS = 60_000  # of a second: whole numbers for 24, 25, 30, 50, 60 and 30000/1001 frames per second; MPEG-4 takes 65535 at most

# The same pictures make the same file. x264's fast code for its macroblock tree makes another now and then, up to 3 of 255 apart.
_SAME = {"x264-params": "cpu-independent=1"}


class Film:
    """An mp4 file: H.264 where PyAV has an encoder for it, else MPEG-4. Each picture is shown at its own time.

    Made with the first picture, whose size it has; odd sizes lose a row or column. Pictures of other sizes are scaled to fit, on black.
    """

    def __init__(self, file: Path, fps: float) -> None:
        self._av = need("av")
        self._image = need("PIL.Image")
        self._file = file
        self._fps = Fraction(fps).limit_denominator(1001)
        self._first_s = 0.0
        self._tick = -1
        self._container: Any = None
        self._stream: Any = None

    def add(self, picture: Image, time_s: float) -> None:
        """Adds a picture, uint8 (H, W, 3) RGB, shown from `time_s` on; times only grow. Raises OSError."""
        if self._container is None:
            height, width = (max(2, side - side % 2) for side in picture.shape[:2])  # colour is stored for 2 x 2 pixels
            self._start(height, width)
            self._first_s = time_s
        frame = self._av.VideoFrame.from_ndarray(self._fitted(picture), format="rgb24")
        self._tick = max(self._tick + 1, round((time_s - self._first_s) * _TICKS))
        frame.pts, frame.time_base = self._tick, Fraction(1, _TICKS)
        self._container.mux(self._stream.encode(frame))

    def close(self) -> None:
        """Finishes the file. There is none if no picture was added. Raises OSError."""
        if self._container is None:
            return
        container, self._container = self._container, None
        try:
            container.mux(self._stream.encode())
        finally:
            container.close()

    def _fitted(self, picture: Image) -> Image:
        """The picture at the size of the film."""
        height, width = self._stream.height, self._stream.width
        if (picture.shape[0] - picture.shape[0] % 2, picture.shape[1] - picture.shape[1] % 2) == (height, width):
            return np.ascontiguousarray(picture[:height, :width])
        factor = min(height / picture.shape[0], width / picture.shape[1])
        inner = [max(1, min(most, round(side * factor))) for side, most in zip(picture.shape[:2], (height, width), strict=True)]
        page = np.zeros((height, width, 3), np.uint8)
        top, left = (height - inner[0]) // 2, (width - inner[1]) // 2
        page[top : top + inner[0], left : left + inner[1]] = self._image.fromarray(picture).resize((inner[1], inner[0]))
        return page

    def _start(self, height: int, width: int) -> None:
        codec = "libx264" if "libx264" in self._av.codecs_available else "mpeg4"
        self._container = self._av.open(str(self._file), "w")
        self._stream = self._container.add_stream(codec, rate=self._fps, options=_SAME if codec == "libx264" else {})
        self._stream.height, self._stream.width, self._stream.pix_fmt = height, width, "yuv420p"
        self._stream.codec_context.time_base = Fraction(1, _TICKS)
        if codec == "mpeg4":
            self._stream.bit_rate = 8_000_000  # its default is too low to look at

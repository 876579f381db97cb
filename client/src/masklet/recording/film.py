"""The frames of a recording, exactly as they were sent: `frames.mkv`, and what Matroska does not carry in files beside it.

JPEG files are pictures of a Matroska file byte for byte, pixels are encoded without loss (FFV1). Where kind or size change another file begins,
`frames-2.mkv`. PNG and WebP files lie in `files/`.
"""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from masklet.jpeg import jpeg_size
from masklet.pixels import Sendable
from masklet.recording.matroska import MatroskaWriter, Place, Track, pictures, private_of
from masklet.sources.source import need

FILES = "files"
_KEPT = 2  # decoded frames


class FilmWriter:
    """Writes frames below a folder. Raises SourceError where pixels come and PyAV is not installed."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._kind: tuple[str, int, int] | None = None  # of the film: codec, width, height
        self._part = self._number = self._files = 0
        self._film: MatroskaWriter | None = None
        self._encoder: Any = None

    def add(self, frame: Sendable, time_ms: int) -> dict[str, Any]:
        """Writes a frame; gives where it is, for JSON."""
        if isinstance(frame, np.ndarray):
            return self._add_pixels(frame, time_ms)
        content = bytes(frame)
        try:
            height, width = jpeg_size(content)
        except ValueError:
            return {"file": self.add_file(content, "image")}
        return self._put(("V_MJPEG", width, height), content, time_ms)

    def add_file(self, content: bytes, kind: str) -> str:
        """Writes a file of its own; gives its name."""
        self._files += 1
        name = f"{FILES}/{self._files:05}.{kind}"
        (self._folder / FILES).mkdir(exist_ok=True)
        (self._folder / name).write_bytes(content)
        return name

    def close(self) -> None:
        """The film is over."""
        if self._film:
            self._film.close()

    def _add_pixels(self, frame: NDArray[np.uint8], time_ms: int) -> dict[str, Any]:
        av = need("av")
        height, width = frame.shape[:2]
        if self._kind != ("V_FFV1", width, height):
            self._encoder = _encoder(av, width, height)
        padded = np.zeros((height, width, 4), np.uint8)
        padded[..., :3] = frame[..., ::-1]
        picture = av.VideoFrame.from_ndarray(padded, format="bgra").reformat(format="bgr0")
        picture.pts = None
        (packet,) = self._encoder.encode(picture)
        return self._put(("V_FFV1", width, height), bytes(packet), time_ms)

    def _put(self, kind: tuple[str, int, int], picture: bytes, time_ms: int) -> dict[str, Any]:
        if self._kind != kind:
            self.close()
            self._part, self._number, self._kind = self._part + 1, 0, kind
            private = self._encoder.extradata or b"" if kind[0] == "V_FFV1" else b""
            self._film = MatroskaWriter(self._folder / film_name(self._part), Track(*kind, private=private))
        assert self._film
        self._film.add(picture, time_ms)
        self._number += 1
        return {"film": film_name(self._part), "picture": self._number - 1}


class FilmReader:
    """Reads frames where a FilmWriter says that they are. Their bytes stay on the disk until somebody looks."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._places: dict[str, list[Place]] = {}
        self._decoded = lru_cache(_KEPT)(self._decode)

    def has(self, place: Mapping[str, Any]) -> bool:
        """Whether it is there whole."""
        if "file" in place:
            return bool((self._folder / place["file"]).exists())
        return int(place["picture"]) < len(self._of(place["film"]))

    def frame(self, place: Mapping[str, Any], size: tuple[int, int] | None) -> Sendable:
        """The frame as it was sent. size: (height, width) of pixels; None: it is a file."""
        if "file" in place:
            return self.file(place["file"])
        if size is None:
            return self._bytes(place["film"], place["picture"])
        pixels: NDArray[np.uint8] = self._decoded(place["film"], place["picture"], size)
        return pixels

    def file(self, name: str) -> bytes:
        """A file beside the film."""
        return (self._folder / name).read_bytes()

    def _of(self, film: str) -> list[Place]:
        if film not in self._places:
            path = self._folder / film
            self._places[film] = list(pictures(path)) if path.exists() else []
        return self._places[film]

    def _bytes(self, film: str, number: int) -> bytes:
        place = self._of(film)[number]
        with (self._folder / film).open("rb") as file:
            file.seek(place.offset)
            return file.read(place.size)

    def _decode(self, film: str, number: int, size: tuple[int, int]) -> NDArray[np.uint8]:
        av = need("av")
        decoder = av.CodecContext.create("ffv1", "r")
        decoder.extradata = private_of(self._folder / film)
        decoder.width, decoder.height, decoder.pix_fmt = size[1], size[0], "bgr0"
        picture = [*decoder.decode(av.Packet(self._bytes(film, number))), *decoder.decode(None)][0]
        pixels: NDArray[np.uint8] = np.ascontiguousarray(picture.reformat(format="bgra").to_ndarray()[..., 2::-1])
        return pixels


def film_name(part: int) -> str:
    """The name of the first film of a recording, and of those after it."""
    return "frames.mkv" if part == 1 else f"frames-{part}.mkv"


def _encoder(av: Any, width: int, height: int) -> Any:
    encoder = av.CodecContext.create("ffv1", "w")
    encoder.width, encoder.height, encoder.pix_fmt, encoder.time_base = width, height, "bgr0", Fraction(1, 1000)
    encoder.gop_size = 1  # every picture stands alone
    encoder.options = {"level": "3", "threads": "1"}
    encoder.open()
    return encoder

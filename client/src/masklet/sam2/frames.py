"""The frames of a video by index, in any order, as the official loaders find them: a folder of JPEG files named by number, or an MP4 file."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from masklet.errors import SourceError
from masklet.jpeg import jpeg_size
from masklet.sources import Skipped, Source, open_source

_NEAR_BYTES = 2**28  # pixels of a film that are kept
_SUFFIXES = (".jpg", ".jpeg", ".JPG", ".JPEG")


class Frames(Protocol):
    """count: how many there are. size: (height, width) of all of them."""

    count: int
    size: tuple[int, int]

    def __getitem__(self, index: int) -> bytes | NDArray[np.uint8]: ...


def open_frames(video_path: str | Path) -> Frames:
    """Raises NotImplementedError for what the official loaders do not take, RuntimeError for a folder without images, SourceError for a bad film."""
    path = Path(video_path)
    if path.is_dir():
        return Folder(path)
    if path.suffix in (".mp4", ".MP4"):
        return Film(path)
    raise NotImplementedError(f"{path} is neither a folder of JPEG files nor an MP4 file; the official predictor takes these two.")


class Folder:
    """JPEG files named by number, read when they are asked for. The server takes them as they are."""

    def __init__(self, folder: Path) -> None:
        files = [file for file in folder.iterdir() if file.suffix in _SUFFIXES]
        if not files:
            raise RuntimeError(f"no images found in {folder}: the official loader takes {', '.join(_SUFFIXES)}.")
        if odd := [file.name for file in files if not file.stem.isdecimal()]:
            raise ValueError(f"{odd[0]} in {folder} is not named by its number, as 00000.jpg: the official loader sorts by that. Rename it.")
        self._files = sorted(files, key=lambda file: int(file.stem))
        self.count = len(self._files)
        self.size = jpeg_size(self._files[0].read_bytes(), str(self._files[0]))

    def __getitem__(self, index: int) -> bytes:
        file = self._files[index]
        content = file.read_bytes()
        if (size := jpeg_size(content, str(file))) != self.size:
            raise NotImplementedError(
                f"{file} is {size[1]} x {size[0]}, the first frame {self.size[1]} x {self.size[0]} pixels. The official predictor stretches any "
                "frame to one square; here all must have the same size."
            )
        return content


class Film:
    """A film, decoded in order: going back further than _NEAR_BYTES decodes it from its beginning again. Needs the extra `video`."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._source: Source | None = None
        self._next = self.count = 0
        self._near: dict[int, NDArray[np.uint8]] = {}
        sizes: dict[tuple[int, int], int] = {}
        with self._open() as source:  # the official loader, too, decodes all of it first
            for frame in source:
                sizes.setdefault(frame.size, frame.index)
                self.count += 1
        if len(sizes) > 1:
            raise NotImplementedError(
                f"the frames of {path} change their size: {sizes} (height and width, from which frame on). Write the film anew."
            )
        (self.size,) = sizes

    def __getitem__(self, index: int) -> NDArray[np.uint8]:
        if index not in self._near and (self._source is None or index < self._next):
            self._source, self._next = self._open(), 0
        while index not in self._near and self._source is not None:
            frame = next(self._source)
            self._next = frame.index + 1
            self._near[frame.index] = frame.image
            if len(self._near) * frame.image.nbytes > _NEAR_BYTES:
                self._near.pop(next(iter(self._near)))
        return self._near[index]

    def _open(self) -> Source:
        if self._source is not None:
            self._source.close()
        return open_source(self._path, skipped=self._skipped)

    def _skipped(self, skipped: Skipped) -> None:
        raise SourceError(
            f"frame {skipped.index} of {self._path} cannot be read: {skipped.why}. The official loaders have no place for a missing frame. "
            "Write the film anew, without it."
        )

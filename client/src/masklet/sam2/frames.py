"""The frames of a video by index, in any order, as the official loaders find them: a folder of JPEG files named by number, or an MP4 file."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

_SUFFIXES = (".jpg", ".jpeg", ".JPG", ".JPEG")
_WITH_SIZE = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}  # the markers of a JPEG file that its size follows


class Frames(Protocol):
    """count: how many there are. size: (height, width) of all of them."""

    count: int
    size: tuple[int, int]

    def __getitem__(self, index: int) -> bytes | NDArray[np.uint8]: ...


def open_frames(video_path: str | Path) -> Frames:
    """Raises NotImplementedError for what the official loaders do not take, RuntimeError for a folder without images."""
    path = Path(video_path)
    if path.is_dir():
        return Folder(path)
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
        self.size = jpeg_size(self._files[0].read_bytes(), self._files[0])

    def __getitem__(self, index: int) -> bytes:
        file = self._files[index]
        content = file.read_bytes()
        if (size := jpeg_size(content, file)) != self.size:
            raise NotImplementedError(
                f"{file} is {size[1]} x {size[0]}, the first frame {self.size[1]} x {self.size[0]} pixels. The official predictor stretches any "
                "frame to one square; here all must have the same size."
            )
        return content


def jpeg_size(content: bytes, file: Path) -> tuple[int, int]:
    """(height, width) in the header of a JPEG file. Raises ValueError."""
    at = 2
    while content[:2] == b"\xff\xd8" and at + 9 <= len(content) and content[at] == 0xFF:
        marker = content[at + 1]
        if marker in _WITH_SIZE:
            return int.from_bytes(content[at + 5 : at + 7], "big"), int.from_bytes(content[at + 7 : at + 9], "big")
        at += 1 if marker == 0xFF else 2 + int.from_bytes(content[at + 2 : at + 4], "big")  # 0xFF before a marker fills
    raise ValueError(f"{file} is no JPEG file, or damaged. Write it anew.")

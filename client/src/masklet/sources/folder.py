"""Folders of images."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from masklet.errors import SourceError
from masklet.sources.frame import Frame
from masklet.sources.images import read_image, scaled, white_of
from masklet.sources.source import Skipped, Source, Tell, need

_SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff"}
_FPS = 25.0


def is_image(path: Path) -> bool:
    """By its suffix. Hidden files and macOS' resource files (`._x.jpg`) are none."""
    return path.suffix.lower() in _SUFFIXES and not path.name.startswith(".")


def open_folder(folder: Path, max_side: int | None, skipped: Tell) -> Source:
    """The images of a folder in natural order. Raises SourceError."""
    files = natural_order(path for path in folder.iterdir() if is_image(path) and path.is_file())
    if not files:
        raise SourceError(f"{folder} holds no images ({', '.join(sorted(_SUFFIXES))}). Name the folder that has the files itself, or convert them.")
    return open_images(files, str(folder), max_side, skipped)


def open_images(files: Sequence[Path], name: str, max_side: int | None, skipped: Tell) -> Source:
    """Image files as a source, at 25 frames per second. Raises SourceError."""
    need("PIL.Image")
    return Source(name, _frames(files, max_side, skipped), fps=_FPS, count=len(files), live=False)


def natural_order(files: Iterable[Path]) -> list[Path]:
    """The files by name, numbers in names by value: 2.jpg before 10.jpg."""
    return sorted(
        files, key=lambda file: [(part.isdecimal(), int(part) if part.isdecimal() else 0, part.lower()) for part in re.split(r"(\d+)", file.name)]
    )


def _frames(files: Sequence[Path], max_side: int | None, skipped: Tell) -> Iterator[Frame]:
    white = white_of(files)
    for index, file in enumerate(files):
        try:
            pixels = read_image(file, white)
        except Exception as error:  # what Pillow raises for a damaged file is not documented
            unknown = isinstance(error, need("PIL").UnidentifiedImageError)  # its text shows Python's object of the file
            skipped(Skipped(index, file.name, f"it cannot be read: {'it is no image that Pillow knows' if unknown else error}"))
            continue
        yield Frame(index, index / _FPS, file.name, scaled(pixels, max_side), pixels.shape[:2])

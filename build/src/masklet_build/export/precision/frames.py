"""Frames for the range scan: those of a folder. No Pillow here, so that a command can refuse a folder before any work is done."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

Film = Sequence[np.ndarray | bytes]  # frames, uint8 [H, W, 3] or the bytes of image files

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")


class FilmError(Exception):
    """There are no frames to look at; the message says why and what to do."""


def folder_film(folder: Path) -> list[bytes]:
    """The images of a folder in the order of their names, as the bytes of their files. Raises FilmError where there are fewer than two."""
    files = sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES) if folder.is_dir() else []
    if len(files) < 2:
        raise FilmError(f"{folder} has {len(files)} images ({', '.join(SUFFIXES)}); the range scan needs 2 or more, in the order of their names.")
    return [file.read_bytes() for file in files]

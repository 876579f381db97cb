"""Masks as bytes, in the forms of request parameter `masks`, and their boxes."""

from __future__ import annotations

import io
import json
from collections.abc import Callable

import numpy as np
from PIL import Image

from masklet import rle
from masklet_postprocess.upsample import Placed


def box(placed: Placed) -> tuple[int, int, int, int]:
    """x0, y0, x1, y1 of the mask in pixels of the frame, ends exclusive; zeros where no pixel is set."""
    rows = np.flatnonzero(placed.mask.any(axis=1))
    columns = np.flatnonzero(placed.mask.any(axis=0))
    if len(rows) == 0:
        return 0, 0, 0, 0
    return (
        placed.left + int(columns[0]),
        placed.top + int(rows[0]),
        placed.left + int(columns[-1]) + 1,
        placed.top + int(rows[-1]) + 1,
    )


def encode(placed: Placed, size: tuple[int, int], form: str) -> bytes:
    """The mask of a frame of `size` (height, width) as bytes; `form` is one of wire.MASK_FORMS. Form none is empty."""
    if form == "none":
        return b""
    if form == "rle":
        return _rle(placed, size)
    frame = np.zeros(size, dtype=np.bool_)
    height, width = placed.mask.shape
    frame[placed.top : placed.top + height, placed.left : placed.left + width] = placed.mask
    return _ENCODERS[form](frame)


def _rle(placed: Placed, size: tuple[int, int]) -> bytes:
    """Run lengths of the part alone: the frame around it is never made."""
    mask = placed.mask if placed.mask.size else np.zeros((1, 1), dtype=np.bool_)
    return json.dumps(rle.encode(mask, at=(placed.top, placed.left), size=size), separators=(",", ":")).encode()


def _bitmap(mask: np.ndarray) -> bytes:
    return np.packbits(mask).tobytes()


def _png(mask: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(mask.astype(np.uint8) * np.uint8(255)).save(file, "PNG", compress_level=1)  # 1: a mask shrinks well anyway
    return file.getvalue()


_ENCODERS: dict[str, Callable[[np.ndarray], bytes]] = {"bitmap": _bitmap, "png": _png}

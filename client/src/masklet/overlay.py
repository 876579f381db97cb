"""Masks drawn on frames, for people to look at. Only numpy."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]

_OPACITY = 0.45

# Twelve colours that stay apart in pairs, also for most people with a colour vision deficiency, beginning with the eight of Okabe and Ito
# ("Color Universal Design", 2008) without black.
_PALETTE = (
    (230, 159, 0),
    (86, 180, 233),
    (0, 158, 115),
    (240, 228, 66),
    (204, 121, 167),
    (213, 94, 0),
    (0, 114, 178),
    (255, 255, 255),
    (170, 255, 195),
    (145, 30, 180),
    (250, 190, 212),
    (128, 128, 0),
)

# Digits of 3 x 5 pixels, one number of three bits per row.
_DIGITS = {
    "0": (7, 5, 5, 5, 7),
    "1": (2, 6, 2, 2, 7),
    "2": (7, 1, 7, 4, 7),
    "3": (7, 1, 7, 1, 7),
    "4": (5, 5, 7, 1, 1),
    "5": (7, 4, 7, 1, 7),
    "6": (7, 4, 7, 5, 7),
    "7": (7, 1, 1, 1, 1),
    "8": (7, 5, 7, 5, 7),
    "9": (7, 5, 7, 1, 7),
    "-": (0, 0, 7, 0, 0),
}


def colour(object_id: int) -> tuple[int, int, int]:
    """The RGB colour of an object: always the same for the same id, different for 12 ids in a row."""
    return _PALETTE[(object_id - 1) % len(_PALETTE)]


def overlay(frame: Image, masks: NDArray[np.bool_], object_ids: Sequence[int], boxes: NDArray[np.float32] | None = None) -> Image:
    """A copy of the frame with each object tinted, outlined and numbered.

    frame       uint8 (H, W, 3) RGB
    masks       bool (N, H, W); a later one is drawn over an earlier one
    object_ids  N ids: the colours and the numbers
    boxes       (N, 4) x0, y0, x1, y1 in pixels, drawn too if given; empty boxes are not
    """
    if masks.shape != (len(object_ids), *frame.shape[:2]) and len(object_ids):
        raise ValueError(f"masks must be {(len(object_ids), *frame.shape[:2])} for {len(object_ids)} objects on this frame, got {masks.shape}.")
    drawn = frame.copy()
    width = max(1, round(max(frame.shape[:2]) / 500))
    for index, object_id in enumerate(object_ids):
        paint = np.array(colour(object_id), dtype=np.uint8)
        _tint(drawn, masks[index], paint, width)
        if boxes is not None:
            _rectangle(drawn, boxes[index], paint, width)
    for index, object_id in enumerate(object_ids):  # numbers last, so that no other object hides them
        _number(drawn, masks[index], object_id, 2 * width)
    return drawn


def contact_sheet(frames: Sequence[Image], columns: int, gap: int = 4) -> Image:
    """Frames of one size on one page, row by row, uint8 (H', W', 3), on black. Raises ValueError for no frames or different sizes."""
    if not frames or len({frame.shape for frame in frames}) != 1:
        raise ValueError(f"a contact sheet needs frames of one size, got {sorted({frame.shape for frame in frames})}.")
    height, width, _ = frames[0].shape
    columns = min(columns, len(frames))
    rows = math.ceil(len(frames) / columns)
    sheet = np.zeros((rows * (height + gap) - gap, columns * (width + gap) - gap, 3), dtype=np.uint8)
    for index, frame in enumerate(frames):
        top, left = index // columns * (height + gap), index % columns * (width + gap)
        sheet[top : top + height, left : left + width] = frame
    return sheet


def _tint(image: Image, mask: NDArray[np.bool_], paint: Image, width: int) -> None:
    image[mask] = ((1 - _OPACITY) * image[mask] + _OPACITY * paint).astype(np.uint8)
    image[mask & ~_eroded(mask, width)] = paint


def _eroded(mask: NDArray[np.bool_], steps: int) -> NDArray[np.bool_]:
    """The mask without its outermost pixels; the border of the image counts as outside."""
    for _ in range(steps):
        padded = np.pad(mask, 1)
        mask = mask & padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    return mask


def _rectangle(image: Image, box: NDArray[np.float32], paint: Image, width: int) -> None:
    x0, y0, x1, y1 = (round(float(side)) for side in box)
    if x1 <= x0 or y1 <= y0:
        return
    for rows, columns in (
        (slice(y0, y0 + width), slice(x0, x1)),
        (slice(max(y0, y1 - width), y1), slice(x0, x1)),
        (slice(y0, y1), slice(x0, x0 + width)),
        (slice(y0, y1), slice(max(x0, x1 - width), x1)),
    ):
        image[rows, columns] = paint


def _number(image: Image, mask: NDArray[np.bool_], number: int, scale: int) -> None:
    """The number in black on white above the mask, as far as it fits into the image."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if len(rows) == 0:
        return
    label = _label(number, scale)
    top = max(0, rows[0] - label.shape[0])
    left = max(0, (columns[0] + columns[-1]) // 2 - label.shape[1] // 2)
    target = image[top : top + label.shape[0], left : left + label.shape[1]]
    target[...] = np.where(label, 0, 255)[: target.shape[0], : target.shape[1], None]


def _label(number: int, scale: int) -> NDArray[np.bool_]:
    glyphs = [np.array([[row >> bit & 1 for bit in (2, 1, 0)] for row in _DIGITS[digit]], dtype=np.bool_) for digit in str(number)]
    text = np.concatenate([np.pad(glyph, ((1, 1), (1, 0))) for glyph in glyphs], axis=1)
    return np.pad(text, ((0, 0), (0, 1))).repeat(scale, axis=0).repeat(scale, axis=1)

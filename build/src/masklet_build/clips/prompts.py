"""A click and a box for a mask."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def inner_point(mask: NDArray[np.bool_]) -> tuple[int, int]:
    """x, y of the pixel that the mask loses last when it is eaten from its border: a good place to click. Raises ValueError for an empty mask."""
    if not mask.any():
        raise ValueError("an empty mask has no inner point.")
    x0, y0, x1, y1 = bounding_box(mask)
    mask = np.pad(mask[y0:y1, x0:x1], 1)
    while mask.any():
        last = mask
        mask = mask.copy()
        mask[1:-1, 1:-1] &= last[:-2, 1:-1] & last[2:, 1:-1] & last[1:-1, :-2] & last[1:-1, 2:]
    rows, columns = np.nonzero(last)
    return int(columns[len(columns) // 2]) + x0 - 1, int(rows[len(rows) // 2]) + y0 - 1


def bounding_box(mask: NDArray[np.bool_]) -> tuple[int, int, int, int]:
    """x0, y0, x1, y1 of the mask in pixels, ends exclusive. Raises ValueError for an empty mask."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if len(rows) == 0:
        raise ValueError("an empty mask has no box.")
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1

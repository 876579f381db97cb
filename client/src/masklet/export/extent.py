"""Box and area of a mask as COCO has them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def extent(mask: NDArray[np.bool_]) -> tuple[list[int], int]:
    """[left, top, width, height] of the pixels of a mask (H, W), and their number; zeros for an empty one."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not len(rows):
        return [0, 0, 0, 0], 0
    left, top = int(columns[0]), int(rows[0])
    return [left, top, int(columns[-1]) + 1 - left, int(rows[-1]) + 1 - top], int(mask.sum())

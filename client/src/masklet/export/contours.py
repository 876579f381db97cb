"""The outlines of a mask as polygons along the edges of its pixels: exact, with holes."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Corners = NDArray[np.int64]


def outlines(mask: NDArray[np.bool_]) -> list[Corners]:
    """The closed outlines of a mask (H, W), each of its corners (K, 2) as x, y on the grid between pixels: 0..W, 0..H.

    Outer outlines go clockwise in the picture, those of holes the other way, so that both rules of filling give the mask. Pixels that touch only
    at a corner are apart.
    """
    padded = np.pad(mask, 1)
    above_left, above_right, below_left, below_right = padded[:-1, :-1], padded[:-1, 1:], padded[1:, :-1], padded[1:, 1:]
    once = above_left ^ above_right ^ below_left ^ below_right  # an odd number of the four pixels around: the outline turns
    falling = above_left & below_right & ~above_right & ~below_left
    rising = above_right & below_left & ~above_left & ~below_right
    # Two outlines meet where diagonal pixels touch: that corner is there twice, first with the edge to its left, then with the one to its right.
    rows, columns = np.nonzero(once)
    twice_rows, twice_columns = np.nonzero(falling | rising)
    y, x = np.concatenate([rows, twice_rows, twice_rows]), np.concatenate([columns, twice_columns, twice_columns])
    right = np.repeat([0, 0, 1], [len(rows), len(twice_rows), len(twice_rows)])
    lower = right ^ rising[y, x]  # of falling pixels the upper edge belongs to the left one, of rising ones to the right one
    along_row = _partners(np.lexsort((right, x, y)))
    along_column = _partners(np.lexsort((lower, y, x)))
    return [_turned(loop, mask) for loop in _loops(np.stack([x, y], axis=1), along_row, along_column)]


def one_polygon(mask: NDArray[np.bool_]) -> Corners:
    """All outlines of a mask (H, W) as one polygon (K, 2), joined by seams without width: there and back between near corners. Empty for no pixel.

    So parts and holes survive where a format has one polygon an object; whoever draws outlines sees the seams.
    """
    joined = np.zeros((0, 2), dtype=np.int64)
    for outline in outlines(mask):
        if not len(joined):
            joined = outline
            continue
        start = int(np.abs(joined - outline[0]).sum(axis=1).argmin())
        joined = np.concatenate([joined[: start + 1], outline, outline[:1], joined[start:]])
    return joined


def _partners(order: NDArray[np.int64]) -> NDArray[np.int64]:
    """The other end of each corner's edge, for corners sorted along their lines: edges join the first and second, the third and fourth."""
    partners = np.empty(len(order), dtype=np.int64)
    partners[order[0::2]], partners[order[1::2]] = order[1::2], order[0::2]
    return partners


def _loops(corners: Corners, along_row: NDArray[np.int64], along_column: NDArray[np.int64]) -> list[Corners]:
    """Corners in the order of the outlines: along a row, then along a column."""
    rows, columns = along_row.tolist(), along_column.tolist()
    free = [True] * len(corners)
    loops = []
    for start in np.lexsort((corners[:, 0], corners[:, 1])).tolist():  # the topmost corner of an outline first, of these the leftmost
        loop = []
        at = start
        while free[at]:
            across = rows[at]
            loop += [at, across]
            free[at] = free[across] = False
            at = columns[across]
        if loop:
            loops.append(corners[loop])
    return loops


def _turned(loop: Corners, mask: NDArray[np.bool_]) -> Corners:
    """Clockwise from its topmost left corner around pixels, the other way around a hole."""
    x, y = loop[0]
    return loop if mask[y, x] else np.roll(loop[::-1], 1, axis=0)

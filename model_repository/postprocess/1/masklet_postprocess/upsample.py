"""Low-resolution logits to a mask at frame size.

The official predictor resizes the logits straight to the frame, bilinear with half-pixel centres and without antialiasing, and thresholds
at 0 (EfficientTAM efficienttam_video_predictor.py:392-412). An interpolated logit lies between its neighbours, so it can only be
positive beside a positive low-resolution logit: everything else is never computed.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

_F32 = np.float32
_ROWS = 32  # rows of the frame interpolated at a time: the working set stays in the cache


class Placed(NamedTuple):
    """A mask cut to where the object can be. `mask` (h, w) of bool lies at row `top` and column `left` of the frame."""

    top: int
    left: int
    mask: np.ndarray


NOWHERE = Placed(0, 0, np.zeros((0, 0), dtype=np.bool_))


class Axis(NamedTuple):
    """Interpolation along one axis: output i is low[below[i]] * (1 - weight[i]) + low[above[i]] * weight[i]."""

    below: np.ndarray  # [size] int64
    above: np.ndarray  # [size] int64
    weight: np.ndarray  # [size] float32


def axis(size_in: int, size_out: int) -> Axis:
    """Half-pixel centres, edges repeated, as torch's `interpolate(mode="bilinear", align_corners=False)`: in float32."""
    scale = _F32(size_in) / _F32(size_out)
    position = np.maximum(scale * (np.arange(size_out, dtype=_F32) + _F32(0.5)) - _F32(0.5), _F32(0))
    below = np.minimum(position.astype(np.int64), size_in - 1)
    return Axis(below, np.minimum(below + 1, size_in - 1), np.minimum(position - below.astype(_F32), _F32(1)))


class Region(NamedTuple):
    """The part of a frame that an object can be in: beside the positive ones of `low` (L, L)."""

    low: np.ndarray
    top: int
    left: int
    vertical: Axis
    horizontal: Axis

    @property
    def place(self) -> tuple[slice, slice]:
        """Its rows and columns of the frame."""
        return slice(self.top, self.top + len(self.vertical.below)), slice(self.left, self.left + len(self.horizontal.below))

    def bands(self) -> Iterator[tuple[slice, np.ndarray]]:
        """Rows of the region, and the logits (rows, columns) float32 there, a band after the other."""
        low, across = self.low, self.horizontal
        wide = low[:, across.below] * (_F32(1) - across.weight) + low[:, across.above] * across.weight
        for start in range(0, len(self.vertical.below), _ROWS):
            rows = slice(start, start + _ROWS)
            below, above, weight = (part[rows] for part in self.vertical)
            yield rows, wide[below] * (_F32(1) - weight)[:, None] + wide[above] * weight[:, None]


def region(low: np.ndarray, size: tuple[int, int]) -> Region | None:
    """Where in a frame of `size` (height, width) an object of `low` (L, L) float32 logits can be. None: nowhere."""
    rows = _near(axis(low.shape[0], size[0]), low.max(axis=1) > 0)
    columns = _near(axis(low.shape[1], size[1]), low.max(axis=0) > 0)
    if rows is None or columns is None:
        return None
    (top, vertical), (left, horizontal) = rows, columns
    return Region(low, top, left, vertical, horizontal)


def mask_at(low: np.ndarray, size: tuple[int, int]) -> Placed:
    """The mask of `low` (L, L) float32 logits at frame `size` (height, width)."""
    near = region(low, size)
    if near is None:
        return NOWHERE
    mask = np.empty((len(near.vertical.below), len(near.horizontal.below)), dtype=np.bool_)
    for rows, logits in near.bands():
        np.greater(logits, 0, out=mask[rows])
    return Placed(near.top, near.left, mask)


def _near(along: Axis, positive: np.ndarray) -> tuple[int, Axis] | None:
    """The first output beside a positive input, and the axis cut down to the last one. None where nothing is positive."""
    near = np.flatnonzero(positive[along.below] | positive[along.above])
    if len(near) == 0:
        return None
    first, last = int(near[0]), int(near[-1]) + 1
    return first, Axis(*(part[first:last] for part in along))

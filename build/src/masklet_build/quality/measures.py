"""J and F of DAVIS: how well a mask agrees with the true one in area and in outline.

The definitions are those of davisvideochallenge/davis2017-evaluation, davis2017/metrics.py at commit ac7c43f; a test compares with what that
program printed (tests/data/README.md).
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

Masks = NDArray[np.bool_]

_TOLERANCE = 0.008  # of the image diagonal: how far apart two outlines may be (metrics.py:41, bound_th)


def region_similarity(truth: Masks, masks: Masks) -> NDArray[np.float64]:
    """J of masks (..., H, W): intersection over union, (...). Two empty masks agree: 1 (metrics.py:27-35)."""
    both = np.count_nonzero(truth & masks, axis=(-2, -1))
    either = np.count_nonzero(truth | masks, axis=(-2, -1))
    return np.where(either == 0, 1.0, both / np.maximum(either, 1))


def boundary_accuracy(truth: Masks, mask: Masks) -> float:
    """F of one mask (H, W): harmonic mean of the shares of each outline that lie near the other one (metrics.py:58-121).

    Near is within a disc whose radius is 0.008 of the image diagonal, rounded up. Masks without an outline, which are empty or fill the frame,
    agree with each other (1) and with no other mask (0).
    """
    found, wanted = outline(mask), outline(truth)
    if not found.any() or not wanted.any():
        return float(found.any() == wanted.any())
    radius = math.ceil(_TOLERANCE * float(np.linalg.norm(mask.shape)))
    precision, recall = _share_near(found, wanted, radius), _share_near(wanted, found, radius)
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def outline(mask: Masks) -> Masks:
    """Where a mask (H, W) differs from the pixel to the right, below or both; the frame's border is no outline (metrics.py:124, seg2bmap)."""
    padded = np.pad(mask, ((0, 1), (0, 1)), mode="edge")
    right, below, diagonal = padded[:-1, 1:], padded[1:, :-1], padded[1:, 1:]
    return np.asarray((mask != right) | (mask != below) | (mask != diagonal))


def _share_near(pixels: Masks, others: Masks, radius: int) -> float:
    """Which part of the pixels has one of the others within a disc around it; both are (H, W) and not empty.

    A disc is a stack of horizontal runs. With running counts of `others`, a run is empty where the counts at its ends are equal, so that all
    pixels together take two look-ups for each of its 2 * radius + 1 runs.
    """
    padded = np.pad(others, radius)
    counts = np.concatenate([[0], np.cumsum(padded, dtype=np.int32)])
    rows, columns = np.nonzero(pixels)
    middle = (rows + radius) * padded.shape[1] + columns + radius
    near = np.zeros(len(middle), np.bool_)
    for down in range(-radius, radius + 1):
        reach = math.isqrt(radius**2 - down**2)
        start = middle + down * padded.shape[1] - reach
        near |= counts[start + 2 * reach + 1] > counts[start]
    return float(np.count_nonzero(near) / len(near))

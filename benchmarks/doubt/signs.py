"""Signs of doubt: what an answer says of its objects, and how it differs from the answer before. Pure functions of arrays."""

from __future__ import annotations

from itertools import permutations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from masklet_build.quality.measures import Masks, region_similarity

Values = NDArray[np.float64]
Rows = dict[str, NDArray[Any]]  # columns by name, a row per object and frame

DELTA = 1.0  # by how much the threshold of a mask is shifted, a logit


def stability(logits: NDArray[np.float32]) -> Values:
    """Of logits (N, L, L): area above DELTA / area above -DELTA, (N,); 1 where both are empty."""
    inner, outer = ((logits > bound).sum(axis=(1, 2)) for bound in (DELTA, -DELTA))
    return np.where(outer > 0, inner / np.maximum(outer, 1), 1.0)


def agreement(candidates: NDArray[np.float32]) -> Values:
    """Mean IoU of all pairs of K candidate masks, logits (N, K, ...) -> (N,); two empty masks agree."""
    masks = candidates.reshape(*candidates.shape[:2], 1, -1) > 0
    count = masks.shape[1]
    pairs = [region_similarity(masks[:, one], masks[:, other]) for one in range(count) for other in range(one)]
    return np.asarray(np.mean(pairs, axis=0))


def jumps(masks: Masks, before: Masks) -> tuple[Values, Values, Values]:
    """How masks (N, H, W) differ from those of the frame before: area, place, overlap; (N,) each.

    area     |log of the ratio| of the areas, each + 1 pixel
    place    way of the centre in roots of the smaller area; 0 where one is empty
    overlap  1 - IoU; 0 where both are empty
    """
    areas, former = (one.sum(axis=(1, 2)) for one in (masks, before))
    area = np.abs(np.log((areas + 1) / (former + 1)))
    ways = np.linalg.norm(centres(masks) - centres(before), axis=1)
    place = np.where((areas > 0) & (former > 0), ways / np.sqrt(np.maximum(np.minimum(areas, former), 1)), 0.0)
    return area, place, 1 - region_similarity(masks, before)


def likeness(masks: Masks) -> Values:
    """The largest IoU of each mask (N, H, W) with that of another object, (N,); 0 for an empty mask and for the only object."""
    found = np.zeros(len(masks))
    for one, other in permutations(range(len(masks)), 2):
        if masks[one].any():
            found[one] = max(found[one], region_similarity(masks[one], masks[other]))
    return found


def centres(masks: Masks) -> Values:
    """Row and column of the middle of each mask, (N, 2); zeros for an empty one."""
    rows, columns = masks.sum(axis=2), masks.sum(axis=1)
    areas = np.maximum(rows.sum(axis=1), 1)
    return np.stack([each @ np.arange(each.shape[1]) / areas for each in (rows, columns)], axis=1)

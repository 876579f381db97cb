"""One object per pixel, as DAVIS wants it: its results are label maps, while a tracker's masks may overlap."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from masklet_build.quality.measures import Masks


def without_overlap(masks: Masks, logits: NDArray[np.float32]) -> Masks:
    """The masks (N, H, W), with each pixel that several of them claim given to the object of the highest logit there.

    logits  (N, L, L) low-resolution mask logits, read between their pixels as the masks were: bilinear, half-pixel centres
    The official programs do the same before they write a label map (facebookresearch/sam2 tools/vos_inference.py:446 with
    sam2/modeling/sam2_base.py:891). The tracker's memory keeps the masks that overlap, there and here.
    """
    rows, columns = np.nonzero(np.count_nonzero(masks, axis=0) > 1)
    claimed = masks[:, rows, columns]
    best = np.where(claimed, _sampled(logits, rows, columns, masks.shape[1:]), -np.inf).argmax(axis=0)
    made = masks.copy()
    made[:, rows, columns] = np.arange(len(masks))[:, None] == best
    return made


def _sampled(logits: NDArray[np.float32], rows: NDArray[np.intp], columns: NDArray[np.intp], size: tuple[int, ...]) -> NDArray[np.float32]:
    """Logits (N, n) at n pixels of a frame of that size (H, W)."""
    top, bottom, down = _between(rows, logits.shape[1], size[0])
    left, right, across = _between(columns, logits.shape[2], size[1])
    upper = logits[:, top, left] * (1 - across) + logits[:, top, right] * across
    lower = logits[:, bottom, left] * (1 - across) + logits[:, bottom, right] * across
    return np.asarray(upper * (1 - down) + lower * down)


def _between(pixels: NDArray[np.intp], low: int, high: int) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.float32]]:
    """Of each pixel: the low-resolution pixels before and after it, and how far it is from the first to the second."""
    place = np.clip((pixels + 0.5) * low / high - 0.5, 0, low - 1).astype(np.float32)
    before = place.astype(np.intp)
    return before, np.minimum(before + 1, low - 1), place - before

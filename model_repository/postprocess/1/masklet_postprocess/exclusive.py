"""Masks that have no pixel in common, for request parameter `overlap`.

The official rule (sam2/modeling/sam2_base.py:891-909, the same in every family): at each pixel of the frame the object with the highest logit is
kept, the first of equals, and the others are clamped to at most -10. A mask is where its logit is positive, so only positive logits compete.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from masklet_postprocess.upsample import NOWHERE, Placed, region


def exclusive_masks(low: np.ndarray, size: tuple[int, int]) -> Iterator[Placed]:
    """The mask of each object of `low` (n, L, L) float32 logits at frame `size` (height, width). Meanwhile it holds 5 bytes a pixel."""
    regions = [region(logits, size) for logits in low]
    highest = np.zeros(size, np.float32)  # so far; what is not above 0 is nobody's
    owner = np.full(size, len(low), np.min_scalar_type(len(low)))
    for number, near in enumerate(regions):
        if near is not None:
            best, own = highest[near.place], owner[near.place]
            for rows, logits in near.bands():
                higher = logits > best[rows]
                np.copyto(best[rows], logits, where=higher)
                np.copyto(own[rows], own.dtype.type(number), where=higher)
    for number, near in enumerate(regions):
        yield NOWHERE if near is None else Placed(near.top, near.left, owner[near.place] == number)

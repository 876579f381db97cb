"""Logits that the tests of this folder draw, and masks on whole frames."""

from __future__ import annotations

import numpy as np

from masklet_postprocess.upsample import Placed


def blobs(seed: int, side: int = 128) -> np.ndarray:
    """Smooth random logits: some blobs are positive."""
    rng = np.random.default_rng(seed)
    low = np.kron(rng.normal(-0.3, 2, (side // 8, side // 8)), np.ones((8, 8))) + rng.normal(0, 0.3, (side, side))
    return low.astype(np.float32)


def on_frame(placed: Placed, size: tuple[int, int]) -> np.ndarray:
    """The mask of the whole frame."""
    frame = np.zeros(size, dtype=bool)
    height, width = placed.mask.shape
    frame[placed.top : placed.top + height, placed.left : placed.left + width] = placed.mask
    return frame

"""The resize of mask prompts as the formula reads, every pixel of it: what the one that leaves out work must equal to the last bit."""

from __future__ import annotations

import numpy as np

from masklet_preprocess.resample import taps


def resize(image: np.ndarray, side: int) -> np.ndarray:
    """An image (H, W) of bool, or of powers of two with a sign, as (side, side) float32."""
    first, weights = taps(image.shape[1], side)
    columns = np.ascontiguousarray(image.T)
    rows = np.zeros((side, image.shape[0]), dtype=np.float32)
    for tap in range(weights.shape[1]):
        rows += columns[np.minimum(first + tap, len(columns) - 1)] * weights[:, tap, None]
    rows = np.ascontiguousarray(rows.T)
    first, weights = taps(image.shape[0], side)
    result = np.zeros((side, side), dtype=np.float32)
    for tap in range(weights.shape[1]):
        source = rows[np.minimum(first + tap, len(rows) - 1)]
        result = (source.astype(np.float64) * weights[:, tap, None] + result).astype(np.float32)
    return result

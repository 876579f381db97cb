"""Antialiased bilinear resize with the rounding of `torch.nn.functional.interpolate(mode="bilinear", antialias=True, align_corners=False)`.

The official predictors resize mask prompts with it, and most threshold at 0.5 (EfficientTAM efficienttam_video_predictor.py:333-341). Symmetric
edges give values of exactly one half but for rounding, so the order of operations is torch's: weights in float32, the row pass first,
taps added one after the other with fused multiply-add (aten/src/ATen/native/cpu/UpSampleKernel.cpp).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

_F32 = np.float32


class Taps(NamedTuple):
    """For each of `size` outputs: its first input pixel, and the weights of that and the following pixels (0 where unused)."""

    first: np.ndarray  # [size] int64
    weights: np.ndarray  # [size, taps] float32


def taps(size_in: int, size_out: int) -> Taps:
    """The triangle filter, as wide as the shrink factor, with half-pixel centres."""
    scale = _F32(size_in) / _F32(size_out)
    support = max(scale, _F32(1))
    inverse = _F32(1.0 / float(support))
    # torch computes in double wherever the constant 0.5 takes part, and rounds to float32 when it stores.
    center = (float(scale) * (np.arange(size_out) + 0.5)).astype(_F32)
    first = np.maximum(((center - support).astype(np.float64) + 0.5).astype(np.int64), 0)
    count = np.minimum(((center + support).astype(np.float64) + 0.5).astype(np.int64), size_in) - first
    tap = np.arange(int(count.max()))
    position = (first[:, None] + tap).astype(_F32) - center[:, None]
    distance = np.abs(((position.astype(np.float64) + 0.5) * float(inverse)).astype(_F32))
    weights = np.where(tap < count[:, None], np.maximum(_F32(1) - distance, _F32(0)), _F32(0))
    total = np.zeros(size_out, dtype=_F32)
    for column in weights.T:  # one after the other: numpy's own sum would round differently
        total += column
    return Taps(first, weights / total[:, None])


def resize_mask(mask: np.ndarray, side: int) -> np.ndarray:
    """A mask (H, W) of bool as (side, side) of bool, what the official predictor makes of it."""
    if mask.shape == (side, side):
        return mask
    return resize(mask, side) >= 0.5


def resize(image: np.ndarray, side: int) -> np.ndarray:
    """An image (H, W) of bool, or of powers of two with a sign, as (side, side) float32."""
    return _resize_columns(_resize_rows(image, side), side)


def _resize_rows(image: np.ndarray, size_out: int) -> np.ndarray:
    """Each row of (H, W) to (H, S) float32. A weight times 0, 1 or a power of two is exact, so here plain and fused addition are the same."""
    first, weights = taps(image.shape[1], size_out)
    columns = np.ascontiguousarray(image.T)
    result = np.zeros((size_out, image.shape[0]), dtype=_F32)
    for tap in range(weights.shape[1]):
        source = columns[np.minimum(first + tap, len(columns) - 1)]  # beyond the last tap the weight is 0
        result += source * weights[:, tap, None]
    return np.ascontiguousarray(result.T)


def _resize_columns(image: np.ndarray, size_out: int) -> np.ndarray:
    """Each column of (H, S) float32 to (S, S) float32."""
    first, weights = taps(image.shape[0], size_out)
    result = np.zeros((size_out, image.shape[1]), dtype=_F32)
    for tap in range(weights.shape[1]):
        source = image[np.minimum(first + tap, len(image) - 1)]
        # A product of two float32 is exact in float64, so this is one fused multiply-add but for a rare double rounding.
        result = (source.astype(np.float64) * weights[:, tap, None] + result).astype(_F32)
    return result

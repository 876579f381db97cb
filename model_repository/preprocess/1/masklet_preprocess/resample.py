"""Antialiased bilinear resize with the rounding of `torch.nn.functional.interpolate(mode="bilinear", antialias=True, align_corners=False)`.

The official predictors resize mask prompts with it, and most threshold at 0.5 (EfficientTAM efficienttam_video_predictor.py:333-341). Symmetric
edges give values of exactly one half but for rounding, so the order of operations is torch's: weights in float32, the row pass first,
taps added one after the other with fused multiply-add (aten/src/ATen/native/cpu/UpSampleKernel.cpp).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

_F32 = np.float32
_BLOCK = 64  # rows at a time, so that they stay in the processor's cache


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
    """An image (H, W) of bool, or of powers of two with a sign, as (side, side) float32.

    Where a mask of bool is empty, so is the result: only what its box reaches is computed.
    """
    down, across = taps(image.shape[0], side), taps(image.shape[1], side)
    result = np.zeros((side, side), dtype=_F32)
    rows, columns = slice(0, side), slice(0, side)
    if image.dtype == np.bool_:
        rows, columns = _reached(image.any(axis=1), down), _reached(image.any(axis=0), across)
    if rows.stop > rows.start:
        first, last = down.first[rows.start], down.first[rows.stop - 1] + down.weights.shape[1]
        part = _resize_rows(image[first:last], Taps(across.first[columns], across.weights[columns]))
        result[rows, columns] = _resize_columns(part, Taps(down.first[rows] - first, down.weights[rows]))
    return result


def _reached(filled: np.ndarray, filter_taps: Taps) -> slice:
    """The outputs whose taps include an input that is not empty."""
    inputs = np.flatnonzero(filled)
    if not len(inputs):
        return slice(0, 0)
    first = filter_taps.first
    start = np.searchsorted(first, inputs[0] - filter_taps.weights.shape[1], side="right")
    return slice(int(start), int(np.searchsorted(first, inputs[-1], side="right")))


def _resize_rows(image: np.ndarray, across: Taps) -> np.ndarray:
    """Each row of (H, W) to (H, S) float32. A weight times 0, 1 or a power of two is exact, so here plain and fused addition are the same."""
    result = np.empty((len(image), len(across.first)), dtype=_F32)
    for top in range(0, len(image), _BLOCK):
        columns = np.ascontiguousarray(image[top : top + _BLOCK].T)
        block = np.zeros((len(across.first), columns.shape[1]), dtype=_F32)
        for tap, weights in enumerate(across.weights.T):
            block += columns[np.minimum(across.first + tap, len(columns) - 1)] * weights[:, None]  # beyond the last tap the weight is 0
        result[top : top + _BLOCK] = block.T
    return result


def _resize_columns(image: np.ndarray, down: Taps) -> np.ndarray:
    """Each column of (H, S) float32 to (R, S) float32."""
    result = np.empty((len(down.first), image.shape[1]), dtype=_F32)
    for top in range(0, len(result), _BLOCK):
        first, weights = (array[top : top + _BLOCK] for array in down)
        block = np.zeros((len(first), image.shape[1]), dtype=_F32)
        for tap in range(weights.shape[1]):
            source = image[np.minimum(first + tap, len(image) - 1)]
            # A product of two float32 is exact in float64, so this is one fused multiply-add but for a rare double rounding.
            block = (source.astype(np.float64) * weights[:, tap, None] + block).astype(_F32)
        result[top : top + _BLOCK] = block
    return result

"""How far an engine may be from the float32 network: every bar, and the measure that all of them are in.

The error of a row, the leading dimension, is told in a unit of that row, so that engines and variants can be compared. At export inputs are random,
and the unit is the standard deviation of what the row should be. In the selftest they are real, and it is the root mean square: rounding goes by the
size of numbers, not by how much they differ, and the logits of a small object's mask are nearly all about -10. A row of one number, a score, is
measured by that number, or by 1 where it is smaller, since terms of about 1 are summed to it and may cancel.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

Unit = Callable[[np.ndarray], np.ndarray]  # [rows, numbers] -> [rows]

# The largest error of an export in float32: 1e-4 deviations, and at least 1e-5.
_FP32 = 1e-4
_LEAST_DEVIATION = 0.1

# The root mean square of the error of an export in reduced types, in deviations. A number is rounded some ten times in each of up to forty layers, by
# 2^-11 of itself in fp16 and 2^-8 in bf16; independent errors grow as the root of their number, so up to 20 roundings are expected. What a fault
# gives, a scale or a row that is wrong, an overflow, is of the order of 1.
ROUNDED: Mapping[str, float] = {"fp32": _FP32, "fp16": 20 * 2.0**-11, "bf16": 20 * 2.0**-8}


@dataclass(frozen=True)
class Bar:
    """typical: root mean square of the error. largest: of a single number. Both in root mean squares of the expected row."""

    typical: float
    largest: float


# The selftest's. Only factors of products are reduced; norms, residual sums and codes stay float32. A product of many terms whose factors are rounded
# to b bits is off by about one rounding, 2^-b, of itself, since independent errors average out; so is what reaches the output of an engine. Five
# roundings are allowed: 2e-2 in bf16; 2.5e-3 in TF32, which has the bits of fp16. Fused attention in fp16 also sums in fp16, tile by tile: with 64
# keys each, the 28,736 keys of a late frame at 1024 pixels are 450 tiles, and 450 independent roundings add up to 21: 1e-2. In fp32 the order of long
# sums counts, hundreds of roundings of 2^-24: 1e-5, and the largest error is what exports are held to. The largest of many thousand errors is four to
# five times the typical one, and activations are uneven: ten times.
BARS: Mapping[str, Bar] = {"fp32": Bar(1e-5, 1e-4), "tf32": Bar(2.5e-3, 2.5e-2), "fp16": Bar(1e-2, 0.1), "bf16": Bar(2e-2, 0.2)}
COARSENESS = tuple(BARS)  # from fine to coarse


def coarsest(precisions: Sequence[str]) -> str:
    """The one whose bar an engine is held to that computes in several."""
    return max(precisions, key=COARSENESS.index)


def deviation(rows: np.ndarray) -> np.ndarray:
    """Standard deviation of each row."""
    return np.asarray(rows.std(axis=1))


def size(rows: np.ndarray) -> np.ndarray:
    """Root mean square of each row."""
    return np.asarray(np.sqrt(np.square(rows).mean(axis=1)))


def row_errors(got: np.ndarray, wanted: np.ndarray, unit: Unit, least: float = 1e-6) -> tuple[np.ndarray, np.ndarray]:
    """Root mean square and largest number of the error of each row, float64 [rows], in units of the row, which are `least` at least.

    Both are infinite where a row is not finite, and all where shape or type differ.
    """
    if got.shape != wanted.shape or got.dtype != wanted.dtype:
        return np.full(len(wanted), np.inf), np.full(len(wanted), np.inf)
    rows, expected = (x.reshape(len(x), -1).astype(np.float64) for x in (got, wanted))
    finite = np.asarray(np.isfinite(rows).all(axis=1))
    scale = np.maximum(unit(expected), least) if expected.shape[1] > 1 else np.maximum(np.abs(expected[:, 0]), 1)
    off = np.where(finite[:, None], rows - expected, np.inf) / scale[:, None]
    return size(off), np.asarray(np.abs(off).max(axis=1))


def worst_excess(got: np.ndarray, wanted: np.ndarray) -> float:
    """Largest error of an export in float32 in units of its bar. Infinite if shape or type differ, or for NaN."""
    return float(row_errors(got, wanted, deviation, _LEAST_DEVIATION)[1].max() / _FP32)

"""How far an engine may be from the float32 network, and how far it is.

The unit is the root mean square of the row's expected output, so that engines and variants can be compared: rounding goes by the size of numbers, not
by how much they differ, and the logits of a small object's mask are nearly all about -10. A row of one number is measured by that number, or by 1
where it is smaller, since terms of about 1 are summed to it and may cancel.

Where the bars come from. Only factors of products are reduced; norms, residual sums and codes stay float32. A product of many terms whose factors
are rounded to b bits is off by about one rounding, 2^-b, of itself, since independent errors average out; so is what reaches the output of an engine.
Five roundings are allowed: 2e-2 in bf16; 2.5e-3 in TF32, which has the bits of fp16. Fused attention in fp16 also sums in fp16, tile by tile: with
64 keys each, the 28,736 keys of a late frame at 1024 pixels are 450 tiles, and 450 independent roundings add up to 21: 1e-2. In fp32 the order of
long sums counts, hundreds of roundings of 2^-24: 1e-5, and the largest error is what masklet's exports are held to. The largest of many thousand
errors is four to five times the typical one, and activations are uneven: ten times.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from masklet_build.selftest.fixtures import Expected, Row, taken


@dataclass(frozen=True)
class Bar:
    """typical: root mean square of the error. largest: of a single number. Both in root mean squares of the expected row."""

    typical: float
    largest: float


BARS: Mapping[str, Bar] = {"fp32": Bar(1e-5, 1e-4), "tf32": Bar(2.5e-3, 2.5e-2), "fp16": Bar(1e-2, 0.1), "bf16": Bar(2e-2, 0.2)}
COARSENESS = tuple(BARS)  # from fine to coarse


def coarsest(precisions: Sequence[str]) -> str:
    """The one whose bar an engine is held to that computes in several."""
    return max(precisions, key=COARSENESS.index)


@dataclass(frozen=True)
class Figures:
    """The worst row of one output.

    row       which it is
    typical, largest   as in `Bar`; infinite for values that are not finite and for wrong shapes
    cosine    of the angle between answer and expectation, 1 where they agree
    flips     rows whose sign is wrong (of SCORE: present or not)
    mixed     row whose expected answer the worst row is, where it is that of another one
    """

    row: int
    typical: float
    largest: float
    cosine: float
    flips: int = 0
    mixed: int | None = None

    def problem(self, bar: Bar) -> str | None:
        """What is wrong, in words; None: within the bar."""
        if not np.isfinite(self.typical):
            return f"row {self.row} is not finite, or of another shape or type than the contract's"
        if self.mixed is not None:
            return f"row {self.row} is the answer of row {self.mixed}: rows of a batch are mixed up"
        if self.typical > bar.typical or self.largest > bar.largest:
            return (
                f"row {self.row} is off by {self.typical:.2g} of its root mean square, {self.largest:.2g} at most "
                f"(bar {bar.typical:g}, {bar.largest:g}; cosine {self.cosine:.4f})"
            )
        return f"{self.flips} rows have the wrong sign" if self.flips else None


def compare(name: str, got: np.ndarray, rows: Sequence[Row], bar: Bar) -> Figures:
    """The worst row of output `name` (rows first) beside what the rows expect."""
    expected = [row.outputs[name] for row in rows]
    if got.shape != (len(rows), *expected[0].shape) or got.dtype != expected[0].values.dtype:
        return Figures(0, np.inf, np.inf, 0.0)
    errors = [_errors(got[index], wanted) for index, wanted in enumerate(expected)]
    worst = max(range(len(rows)), key=lambda index: max(errors[index][0] / bar.typical, errors[index][1] / bar.largest))
    flips = sum(_flipped(got[index], wanted, bar) for index, wanted in enumerate(expected)) if name == "SCORE" else 0
    typical, largest = errors[worst]
    within = typical <= bar.typical and largest <= bar.largest
    mixed = None if within or not np.isfinite(typical) else _taken_for(got[worst], expected, bar)
    return Figures(worst, typical, largest, _cosine(taken(got[worst]), expected[worst].values), flips, mixed)


def _errors(got: np.ndarray, expected: Expected) -> tuple[float, float]:
    values, wanted = taken(got).astype(np.float64), expected.values.astype(np.float64)
    if not np.isfinite(values).all():
        return float("inf"), float("inf")
    scale = max(float(np.sqrt(np.mean(wanted**2))), 1e-6) if wanted.size > 1 else max(abs(float(wanted[0])), 1.0)
    off = np.abs(values - wanted) / scale
    # One number has no typical error: as one of many it may be off by the largest.
    return (float(np.sqrt(np.mean(off**2))) if wanted.size > 1 else 0.0), float(off.max())


def _flipped(got: np.ndarray, expected: Expected, bar: Bar) -> bool:
    """Whether a score has the wrong sign although it is no near tie, that is farther from 0 than the bar allows to be off."""
    wanted = float(expected.values[0])
    return abs(wanted) > bar.largest and (float(got) > 0) != (wanted > 0)


def _taken_for(got: np.ndarray, expected: Sequence[Expected], bar: Bar) -> int | None:
    for index, other in enumerate(expected):
        typical, largest = _errors(got, other)
        if typical <= bar.typical and largest <= bar.largest:
            return index
    return None


def _cosine(one: np.ndarray, other: np.ndarray) -> float:
    a, b = one.astype(np.float64), other.astype(np.float64)
    length = float(np.linalg.norm(a) * np.linalg.norm(b))
    if length == 0 or not np.isfinite(length):
        return float(length == 0 and not (a.any() or b.any()))
    return float(a @ b / length)

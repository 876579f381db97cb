"""How well a value tells wrong rows from right ones, how sure that is, and the smallest model that joins several values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]
Flags = NDArray[np.bool_]

_RIDGE = 1.0  # on standardised weights, so that values that always agree do not drive each other up
_STEPS = 25  # of Newton's method, which needs about eight


def auc(values: Values, wrong: Flags, weights: Values | None = None) -> float:
    """Area under the ROC curve: how often a wrong row has a greater value than a right one; equal values count half. NaN where one kind is missing.

    weights  of the rows, (R,); 2 is as if a row were there twice
    """
    weights = np.ones(len(values)) if weights is None else weights
    _, place = np.unique(values, return_inverse=True)
    yes, no = (np.bincount(place, weights * kind, place.max() + 1) for kind in (wrong, ~wrong))
    pairs = yes.sum() * no.sum()
    return float((yes * (np.cumsum(no) - no / 2)).sum() / pairs) if pairs else float("nan")


def precision_at(recall: float, values: Values, wrong: Flags, weights: Values | None = None) -> float:
    """The share of flagged rows that is wrong, with the highest bound that flags `recall` of the wrong ones. NaN where none is wrong."""
    weights = np.ones(len(values)) if weights is None else weights
    _, place = np.unique(-values, return_inverse=True)
    yes, every = (np.cumsum(np.bincount(place, each, place.max() + 1)) for each in (weights * wrong, weights))
    if not yes[-1]:
        return float("nan")
    bound = int(np.argmax(yes >= recall * yes[-1] * (1 - 1e-12)))
    return float(yes[bound] / every[bound])


@dataclass(frozen=True)
class Logistic:
    """P(wrong) = sigmoid(bias + sum of weights * (columns - mean) / spread)."""

    mean: Values
    spread: Values
    weights: Values
    bias: float

    def __call__(self, columns: Values) -> Values:
        """Rows (R, F) -> probabilities (R,)."""
        return 1 / (1 + np.exp(-(self.bias + (columns - self.mean) / self.spread @ self.weights)))


def fitted(columns: Values, wrong: Flags) -> Logistic:
    """Logistic regression of rows (R, F), by Newton's method, with a ridge on all weights but the bias."""
    mean, spread = columns.mean(axis=0), np.maximum(columns.std(axis=0), 1e-9)
    design = np.column_stack([(columns - mean) / spread, np.ones(len(columns))])
    ridge = np.diag([_RIDGE] * columns.shape[1] + [0.0])
    weights = np.zeros(design.shape[1])
    for _ in range(_STEPS):
        chance = 1 / (1 + np.exp(-design @ weights))
        slope = design.T @ (wrong - chance) - ridge @ weights
        curve = design.T @ (design * (chance * (1 - chance))[:, None]) + ridge
        weights = weights + np.linalg.solve(curve, slope)
    return Logistic(mean, spread, weights[:-1], float(weights[-1]))


def resampled(clips: Values, times: int, seed: int = 0) -> list[Values]:
    """Weights of rows for a bootstrap over clips: each time as many clips as there are, drawn with replacement."""
    names, place = np.unique(clips, return_inverse=True)
    random = np.random.default_rng(seed)
    return [np.bincount(random.integers(len(names), size=len(names)), minlength=len(names))[place].astype(np.float64) for _ in range(times)]


def interval(values: Sequence[float] | Values) -> tuple[float, float]:
    """The middle 95 % of bootstrapped values."""
    low, high = np.nanpercentile(values, (2.5, 97.5)).tolist()
    return low, high

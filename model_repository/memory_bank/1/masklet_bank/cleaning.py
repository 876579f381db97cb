"""Small holes in masks are filled, and small parts removed, as official code does where it has CUDA (`masklet.families.Cleaning`).

The rule (sam2/utils/misc.py:312-338; with sprinkles sam3/model/sam3_tracker_utils.py:370-408): of the pixels whose logit is not positive, connected
components (8 neighbours) of at most `area` pixels get the logit 0.1. Then, with sprinkles, components of the mask of at most `area` pixels, and at
most half of all its pixels, get -0.1.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from masklet.families import Cleaning
from masklet_bank.arrays import Array, Arrays

_NEIGHBOURS = np.ones((3, 3), np.bool_)
_FILLED, _REMOVED = np.float32(0.1), np.float32(-0.1)


class Cleaner:
    """Cleans masks by a rule, on the host wherever the bank's arrays live: `arrays`. Raises ModuleNotFoundError that says what to do."""

    def __init__(self, rule: Cleaning, arrays: Arrays) -> None:
        try:
            from scipy import ndimage
        except ImportError as error:
            raise ModuleNotFoundError(
                f"this repository was assembled with --postprocess official-cuda, which needs scipy in the server's Python, and it cannot be "
                f"imported: {error}. Install scipy there, or assemble without the option."
            ) from error
        self.rule = rule
        self._arrays = arrays
        self._label: Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, int]] = ndimage.label

    def __call__(self, low: Array) -> Array:
        """The logits [L, L], cleaned: a new array, or the same one where nothing is small."""
        given = self._arrays.get(low)
        made = self._cleaned(given)
        return low if made is given else self._arrays.put(made)

    def _cleaned(self, low: np.ndarray) -> np.ndarray:
        near = _near(~(low <= 0), self.rule.area + 1)
        part = low[near]
        if part.size == 0:  # no mask, and one component as large as the picture
            return low
        made = np.where(self._small(part <= 0, self.rule.area), _FILLED, part)
        if self.rule.sprinkles:
            mask = made > 0
            made = np.where(self._small(mask, min(int(mask.sum()) // 2, self.rule.area)), _REMOVED, made)
        if np.array_equal(made, part):
            return low
        cleaned = low.copy()
        cleaned[near] = made
        return cleaned

    def _small(self, mask: np.ndarray, most: int) -> np.ndarray:
        """Where the mask has components of at most so many pixels."""
        labels, _ = self._label(mask, _NEIGHBOURS)
        small = np.bincount(labels.ravel()) <= most
        small[0] = False  # what is not in the mask
        return small[labels]


def _near(mask: np.ndarray, margin: int) -> tuple[slice, slice]:
    """Rows and columns with all of the mask, and so many more on each side as far as there are any: a component of what is around the mask that goes
    on beyond them has more pixels inside than `margin` - 1."""
    found = [np.flatnonzero(mask.any(axis=axis)) for axis in (1, 0)]
    rows, columns = (slice(max(int(at[0]) - margin, 0), int(at[-1]) + 1 + margin) if len(at) else slice(0, 0) for at in found)
    return rows, columns

"""Clips whose masks a test writes down itself."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np


class MadeClip:
    """A LabelledClip of true masks (T, N, H, W); frames are noise, all different. `unknown`: frames without true masks."""

    def __init__(self, masks: np.ndarray, *, name: str = "made", subsets: frozenset[str] = frozenset(), unknown: tuple[int, ...] = ()) -> None:
        self.name, self.subsets = name, subsets
        self.masks, self._unknown = masks, unknown
        self.object_ids = tuple(range(1, masks.shape[1] + 1))

    def __len__(self) -> int:
        return len(self.masks)

    def frames(self) -> Iterator[np.ndarray]:
        rng = np.random.default_rng(list(self.name.encode()))
        return iter(rng.integers(0, 256, (len(self), *self.masks.shape[2:], 3), dtype=np.uint8))

    def truth(self, index: int) -> np.ndarray | None:
        return None if index in self._unknown else self.masks[index]


def squares(visible: list[list[int]], side: int = 20) -> np.ndarray:
    """Masks (T, N, side, side): each object is a square of the given widths (T numbers per object; 0: empty), one below the other."""
    made = np.zeros((len(visible[0]), len(visible), side, side), np.bool_)
    rows = side // len(visible)
    for number, widths in enumerate(visible):
        for time, width in enumerate(widths):
            made[time, number, number * rows : number * rows + min(width, rows), :width] = True
    return made

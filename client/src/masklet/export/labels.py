"""Masks as one picture of numbers, where a format has one object a pixel."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from masklet.errors import ExportError
from masklet.export.results_file import FrameMasks


@dataclass
class Overlaps:
    """Pixels that more than one object claimed: the later object in the results has them, as in the pictures that `masklet track` writes."""

    pixels: int = 0
    frames: int = 0

    def picture(self, frame: FrameMasks, numbers: Mapping[int, int]) -> NDArray[np.uint16]:
        """The frame's objects by their numbers, uint16 (H, W); 0 where there is none."""
        picture = np.zeros(frame.size, dtype=np.uint16)
        claimed = 0
        for tracked in frame.objects:
            mask = tracked.pixels()
            claimed += int(mask.sum())
            picture[mask] = numbers[tracked.object_id]
        lost = claimed - int(np.count_nonzero(picture))
        self.pixels += lost
        self.frames += lost > 0
        return picture

    def notes(self) -> list[str]:
        """What to tell of them."""
        if not self.pixels:
            return []
        return [
            f"objects overlap in {self.frames} frames, and the format has one object a pixel: {self.pixels} pixels of masks "
            "are lost to later objects. coco, ytvis, yolo and cvat keep all."
        ]


def numbered(object_ids: Collection[int], low: int, high: int, notes: list[str]) -> dict[int, int]:
    """A number from `low` to `high` for each object: its id where that is possible. Raises ExportError for more objects than numbers."""
    if len(object_ids) > high - low + 1:
        raise ExportError(f"{len(object_ids)} objects, but the format has numbers for {high - low + 1}. Choose some of them with --object.")
    fitting = {object_id: object_id for object_id in object_ids if low <= object_id <= high}
    free = (number for number in range(low, high + 1) if number not in fitting)
    moved = {object_id: next(free) for object_id in object_ids if object_id not in fitting}
    if moved:
        told = ", ".join(f"{object_id} is {number}" for object_id, number in moved.items())
        notes.append(f"objects have other numbers there, for the format's go from {low} to {high}: {told}.")
    return fitting | moved

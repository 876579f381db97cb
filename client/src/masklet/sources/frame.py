"""One frame of a source."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Frame:
    """A frame, and where it is in its source.

    index      position in the source; frames that were skipped count. Of live sources: number among all that came since the first that
               was taken, so it jumps
    time_s     when it is shown, in seconds after the first frame
    name       file name in a folder, else the index with five digits
    image      pixels, uint8 (H, W, 3) RGB, upright
    size       (height, width) of the source's own picture; larger than `image` where that was scaled for the server
    arrived_s  of live sources: time.monotonic() when it came
    """

    index: int
    time_s: float
    name: str
    image: NDArray[np.uint8]
    size: tuple[int, int]
    arrived_s: float | None = None

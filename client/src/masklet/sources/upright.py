"""Pictures as players show them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from masklet.sources.source import need


def pixels(picture: Any) -> NDArray[np.uint8]:
    """The pixels of PyAV's frame, uint8 (H, W, 3) RGB, turned and mirrored as its display matrix says."""
    return turned(picture.to_ndarray(format="rgb24"), _matrix(picture))


def turned(image: NDArray[np.uint8], matrix: tuple[int, int, int, int]) -> NDArray[np.uint8]:
    """The image under a display matrix (a, b, c, d): what is at (x, y) is shown at (a x + c y, b x + d y), then moved into view.

    To the nearest quarter turn.
    """
    a, b, c, d = matrix
    if abs(b) + abs(c) > abs(a) + abs(d):
        image, right, down = image.swapaxes(0, 1), c, b
    else:
        right, down = a, d
    return np.ascontiguousarray(image[:: -1 if down < 0 else 1, :: -1 if right < 0 else 1])


def _matrix(picture: Any) -> tuple[int, int, int, int]:
    data = picture.side_data.get(need("av").sidedata.sidedata.Type.DISPLAYMATRIX)
    if data is None:
        return 1, 0, 0, 1
    a, b, _, c, d, *_ = np.frombuffer(bytes(data), np.int32).tolist()
    return a, b, c, d

"""Pictures of the page: frames with masks, heat maps and marks on them, as images that stand in HTML."""

from __future__ import annotations

import base64
import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from masklet.masks import nearest

Frame = NDArray[np.uint8]  # (H, W, 3)
Mask = NDArray[np.bool_]

TAKEN, OTHER, LINE = (230, 20, 150), (86, 180, 233), (255, 255, 255)  # RGB; apart in brightness, too

# Of heat maps, from nothing to most: brightness grows all the way, so that it reads without hues (the corners of matplotlib's "inferno").
_HEAT = np.array([(0, 0, 4), (66, 10, 104), (147, 38, 103), (221, 81, 58), (252, 165, 10), (252, 255, 164)], np.float64)
_GREY, _DIM = np.array([0.299, 0.587, 0.114]), 0.75
_TINT = 0.5
_QUALITY = 86


def scaled(frame: Frame, width: int) -> Frame:
    """The frame at another width."""
    height = max(1, round(frame.shape[0] * width / frame.shape[1]))
    return np.asarray(Image.fromarray(frame).resize((width, height), Image.Resampling.BICUBIC))


def around(mask: Mask) -> tuple[slice, slice]:
    """The part of a picture (H, W) in which a mask is seen well, in the shape of the picture; all of it where the mask is empty."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if len(rows) == 0:
        return slice(0, mask.shape[0]), slice(0, mask.shape[1])
    share = min(1.0, max(1.5 * (rows[-1] + 1 - rows[0]) / mask.shape[0], 1.5 * (columns[-1] + 1 - columns[0]) / mask.shape[1], 0.25))

    def cut(found: NDArray[np.intp], size: int) -> slice:
        length = max(1, round(share * size))
        start = min(max((int(found[0] + found[-1]) + 1 - length) // 2, 0), size - length)
        return slice(start, start + length)

    return cut(rows, mask.shape[0]), cut(columns, mask.shape[1])


def with_heat(frame: Frame, heat: NDArray[np.float64], largest: float) -> Frame:
    """The frame in grey, under a map (side, side) whose value `largest` has full colour.

    The map covers the whole frame, as the model's square image does.
    """
    height, width, _ = frame.shape
    smooth = Image.fromarray((heat / largest if largest else heat).astype(np.float32)).resize((width, height), Image.Resampling.BILINEAR)
    value = np.clip(np.asarray(smooth, np.float64), 0, 1)[..., None]
    colour = np.stack([np.interp(value[..., 0], np.linspace(0, 1, len(_HEAT)), channel) for channel in _HEAT.T], axis=2)
    grey = _DIM * (frame @ _GREY)[..., None]
    cover = np.minimum(1, 2.5 * value) * 0.85  # so that what got little is seen as the frame
    return (grey * (1 - cover) + colour * cover).astype(np.uint8)


def heat_legend() -> str:
    """The colours of heat maps from left to right, for `background` in CSS."""
    return f"linear-gradient(to right, {', '.join(f'rgb({int(r)},{int(g)},{int(b)})' for r, g, b in _HEAT)})"


def tinted(frame: Frame, mask: Mask, colour: tuple[int, int, int]) -> Frame:
    """The frame with a mask of any size in this colour."""
    made, inside = frame.copy(), nearest(mask, frame.shape[:2])
    made[inside] = ((1 - _TINT) * made[inside] + _TINT * np.array(colour)).astype(np.uint8)
    return made


def outlined(frame: Frame, mask: Mask) -> Frame:
    """The frame with the outline of a mask of any size, white between two dark lines, so that it shows on everything."""
    made, inside = frame.copy(), nearest(mask, frame.shape[:2])
    line = inside & ~_shrunk(inside, 2)
    made[_grown(line)] = (20, 20, 20)
    made[line] = LINE
    return made


def marked(frame: Frame, x: float, y: float) -> Frame:
    """The frame with a cross at x, y in its pixels."""
    made, (height, width, _) = frame.copy(), frame.shape
    arm, row, column = max(4, width // 40), min(int(y), height - 1), min(int(x), width - 1)
    for thick, colour in ((2, (20, 20, 20)), (1, (255, 255, 255))):
        made[max(0, row - thick) : row + thick + 1, max(0, column - arm) : column + arm + 1] = colour
        made[max(0, row - arm) : row + arm + 1, max(0, column - thick) : column + thick + 1] = colour
    return made


def embedded(frame: Frame) -> str:
    """The picture as a data URI, JPEG."""
    file = io.BytesIO()
    Image.fromarray(frame).save(file, "JPEG", quality=_QUALITY)
    return f"data:image/jpeg;base64,{base64.b64encode(file.getvalue()).decode()}"


def _shrunk(mask: Mask, steps: int) -> Mask:
    """Without its outermost pixels; what lies outside the picture counts as inside, so that its border is no outline."""
    for _ in range(steps):
        padded = np.pad(mask, 1, constant_values=True)
        mask = mask & padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    return mask


def _grown(mask: Mask) -> Mask:
    return ~_shrunk(~mask, 1)

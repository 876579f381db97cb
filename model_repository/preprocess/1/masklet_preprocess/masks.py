"""Mask prompts: COCO run lengths to masks of bool."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from masklet import rle
from masklet.errors import BadPrompt
from masklet_preprocess.prompts import Size


def decode(mask: Mapping[str, object], size: Size) -> np.ndarray:
    """The mask (H, W) of bool. `counts` may be text (compressed) or a list of run lengths, as pycocotools and annotation files have it.

    Raises BadPrompt.
    """
    try:
        counts = mask["counts"]
        return _decode_list(counts, size) if isinstance(counts, list) else rle.decode(mask, size)
    except ValueError as error:
        raise BadPrompt(f"a mask prompt is not valid: {error}") from None


def _decode_list(counts: list[object], size: Size) -> np.ndarray:
    """Run lengths down the columns, zeros first. Raises ValueError."""
    height, width = size
    if not all(type(count) is int and 0 <= count <= height * width for count in counts):
        raise ValueError(f"a run length must be an integer from 0 to {height * width}.")
    if sum(counts) != height * width:  # type: ignore[arg-type]  # all int, checked above
        raise ValueError(f"the runs make {sum(counts)} pixels, but the frame {height} x {width} has {height * width}.")  # type: ignore[arg-type]
    is_object = np.arange(len(counts)) % 2 == 1
    return np.ascontiguousarray(np.repeat(is_object, np.array(counts, dtype=np.int64)).reshape(width, height).T)

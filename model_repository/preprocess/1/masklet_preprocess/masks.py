"""Mask prompts: COCO run lengths to masks of bool."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from masklet import rle
from masklet.errors import BadPrompt
from masklet_preprocess.prompts import Size


def decode(mask: Mapping[str, object], size: Size, object_id: int) -> np.ndarray:
    """The mask (H, W) of bool. `counts` may be text (compressed) or a list of run lengths, as pycocotools and annotation files have it.

    Raises BadPrompt that names the object.
    """
    try:
        return rle.decode(mask, size)
    except ValueError as error:
        raise BadPrompt(f"object {object_id}: its mask is not valid: {error}") from None

"""Mask prompts: COCO run lengths to tensors of `contract.preprocess`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from masklet import rle
from masklet.errors import BadPrompt
from masklet.families import Variant
from masklet_preprocess.prompts import Size
from masklet_preprocess.resample import resize, resize_mask


def mask_tensors(masks: Mapping[int, Mapping[str, object]], size: Size | None, variant: Variant) -> dict[str, np.ndarray]:
    """PROMPT_MASKS and, where masks are soft, PROMPT_LOW, without batch dimension, of run lengths by object.

    size: (height, width) of the frame, None without one. Raises BadPrompt for damaged masks.
    """
    given = [] if size is None else [decode(mask, size, object_id) for object_id, mask in masks.items()]
    return (_soft_masks if variant.family.soft_masks else _masks)(given, variant)


def decode(mask: Mapping[str, object], size: Size, object_id: int) -> np.ndarray:
    """The mask (H, W) of bool. `counts` may be text (compressed) or a list of run lengths, as pycocotools and annotation files have it.

    Raises BadPrompt that names the object.
    """
    try:
        return rle.decode(mask, size)
    except ValueError as error:
        raise BadPrompt(f"object {object_id}: its mask is not valid: {error}") from None


def _masks(given: Sequence[np.ndarray], variant: Variant) -> dict[str, np.ndarray]:
    """Masks (H, W) of bool at mask size."""
    result = np.zeros((len(given), variant.mask_size, variant.mask_size), dtype=np.uint8)
    for row, mask in zip(result, given, strict=True):
        row[:] = resize_mask(mask, variant.mask_size)
    return {"PROMPT_MASKS": result}


def _soft_masks(given: Sequence[np.ndarray], variant: Variant) -> dict[str, np.ndarray]:
    """Masks (H, W) of bool at mask size with grey borders, and as logits of low resolution, made from the mask as it was given
    (SAM 3 sam3_tracking_predictor.py:362-371, 427-430, 591-601)."""
    result = np.zeros((len(given), variant.mask_size, variant.mask_size), dtype=np.float32)
    low = np.zeros((len(given), variant.low_size, variant.low_size), dtype=np.float32)
    absent = np.float32(variant.family.no_object_score)
    for index, mask in enumerate(given):
        result[index] = resize(mask, variant.mask_size)
        low[index] = resize(np.where(mask, -absent, absent), variant.low_size)
    return {"PROMPT_MASKS": result, "PROMPT_LOW": low}

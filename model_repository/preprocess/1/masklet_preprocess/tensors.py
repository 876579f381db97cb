"""Prompts for the stages behind: in model pixels, masks as tensors of `contract.preprocess`."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from masklet import envelope
from masklet.families import Variant
from masklet_preprocess import masks
from masklet_preprocess.prompts import Prompt, Size
from masklet_preprocess.resample import resize, resize_mask

Tensors = dict[str, np.ndarray]


def for_model(prompts: Sequence[Prompt], size: Size | None, image_size: int) -> tuple[envelope.Prompt, ...]:
    """Prompts as the envelope carries them. `size`: (height, width) of the frame, None without one."""
    return tuple(_for_model(prompt, size, image_size) for prompt in prompts)


def _for_model(prompt: Prompt, size: Size | None, image_size: int) -> envelope.Prompt:
    points = np.array(prompt.points, dtype=np.float32).reshape(-1, 2)
    scaled = points if size is None else scale_points(points, size, image_size)
    return envelope.Prompt(
        prompt.object_id,
        tuple((x, y) for x, y in scaled.tolist()),
        prompt.labels,
        mask=prompt.mask is not None,
        append=prompt.append,
        clear=prompt.clear,
        remove=prompt.remove,
    )


def scale_points(points: np.ndarray, size: Size, image_size: int) -> np.ndarray:
    """Points (n, 2) float32 from pixels of the frame to pixels of the model image.

    In float32 and in the official order, p / (W, H) * S (EfficientTAM efficienttam_video_predictor.py:224-229).
    """
    height, width = size
    return points / np.array([width, height], dtype=np.float32) * np.float32(image_size)


def mask_tensors(prompts: Sequence[Prompt], size: Size | None, variant: Variant) -> Tensors:
    """PROMPT_MASKS and, where masks are soft, PROMPT_LOW, without batch dimension. Raises BadPrompt for damaged masks."""
    given = [] if size is None else [masks.decode(prompt.mask, size, prompt.object_id) for prompt in prompts if prompt.mask is not None]
    return (_soft_masks if variant.family.soft_masks else _masks)(given, variant)


def _masks(given: Sequence[np.ndarray], variant: Variant) -> Tensors:
    """Masks (H, W) of bool at mask size."""
    result = np.zeros((len(given), variant.mask_size, variant.mask_size), dtype=np.uint8)
    for row, mask in zip(result, given, strict=True):
        row[:] = resize_mask(mask, variant.mask_size)
    return {"PROMPT_MASKS": result}


def _soft_masks(given: Sequence[np.ndarray], variant: Variant) -> Tensors:
    """Masks (H, W) of bool at mask size with grey borders, and as logits of low resolution, made from the mask as it was given
    (SAM 3 sam3_tracking_predictor.py:362-371, 427-430, 591-601)."""
    result = np.zeros((len(given), variant.mask_size, variant.mask_size), dtype=np.float32)
    low = np.zeros((len(given), variant.low_size, variant.low_size), dtype=np.float32)
    absent = np.float32(variant.family.no_object_score)
    for index, mask in enumerate(given):
        result[index] = resize(mask, variant.mask_size)
        low[index] = resize(np.where(mask, -absent, absent), variant.low_size)
    return {"PROMPT_MASKS": result, "PROMPT_LOW": low}

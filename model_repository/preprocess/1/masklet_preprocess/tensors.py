"""Prompts as the fixed tensors of `contract.PREPROCESS`."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from masklet_preprocess import masks
from masklet_preprocess.prompts import Prompt, Size
from masklet_preprocess.resample import resize_mask

Tensors = dict[str, np.ndarray]


def pack(prompts: Sequence[Prompt], size: Size | None, image_size: int) -> Tensors:
    """The PROMPT_* tensors, without batch dimension. `size`: (height, width) of the frame, None without one.

    Raises BadPrompt for damaged masks.
    """
    points = np.array([point for prompt in prompts for point in prompt.points], dtype=np.float32).reshape(-1, 2)
    return {
        "PROMPT_OBJECT": np.array([prompt.object_id for prompt in prompts], dtype=np.int64),
        "PROMPT_FLAGS": np.array([int(prompt.flags) for prompt in prompts], dtype=np.int32),
        "PROMPT_COUNT": np.array([len(prompt.labels) for prompt in prompts], dtype=np.int32),
        "PROMPT_POINTS": points if size is None else scale_points(points, size, image_size),
        "PROMPT_LABELS": np.array([label for prompt in prompts for label in prompt.labels], dtype=np.int32),
        "PROMPT_MASKS": _masks(prompts, size, image_size),
    }


def scale_points(points: np.ndarray, size: Size, image_size: int) -> np.ndarray:
    """Points (n, 2) float32 from pixels of the frame to pixels of the model image.

    In float32 and in the official order, p / (W, H) * S (EfficientTAM efficienttam_video_predictor.py:224-229).
    """
    height, width = size
    return points / np.array([width, height], dtype=np.float32) * np.float32(image_size)


def _masks(prompts: Sequence[Prompt], size: Size | None, image_size: int) -> np.ndarray:
    given = [prompt.mask for prompt in prompts if prompt.mask is not None]
    result = np.zeros((len(given), image_size, image_size), dtype=np.uint8)
    if size is not None:
        for row, mask in zip(result, given, strict=True):
            row[:] = resize_mask(masks.decode(mask, size), image_size)
    return result

"""Users' masks as the bank gets them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from masklet.envelope import Prompt
from masklet.errors import BadRequest


class MaskPrompt(NamedTuple):
    """The mask of a prompt: [M, M] uint8, or float32 where masks are soft, and then also as low-resolution logits, [L, L] float32."""

    mask: np.ndarray
    low: np.ndarray | None


def masks_of(prompts: Sequence[Prompt], masks: np.ndarray, lows: np.ndarray | None) -> dict[int, MaskPrompt]:
    """By object, the masks of prompts, [k, M, M] and, where masks are soft, [k, L, L]; these are copied. Raises BadRequest for another k."""
    masked = [prompt.object_id for prompt in prompts if prompt.mask]
    if not len(masked) == len(masks) == (len(masked) if lows is None else len(lows)):
        raise BadRequest(f"{len(masks)} masks came with an envelope for {len(masked)}. Send requests to the model `tracker`.")
    return {one: MaskPrompt(masks[row].copy(), None if lows is None else lows[row].copy()) for row, one in enumerate(masked)}

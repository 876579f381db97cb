"""Prompts as they arrive from preprocess: fixed tensors, back into one object per prompt."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from masklet.wire import PromptFlag


@dataclass(frozen=True)
class Prompt:
    """What a request asks of one object.

    points, labels   [n, 2] float32 model pixels and [n] int32 (1, 0; 2 and 3 for box corners, which come first)
    mask             [M, M] uint8, or float32 where masks are soft; or None
    low              [L, L] float32, the mask as low-resolution logits, where masks are soft; or None
    """

    object_id: int
    flags: PromptFlag
    points: np.ndarray
    labels: np.ndarray
    mask: np.ndarray | None
    low: np.ndarray | None = None

    @property
    def gives(self) -> bool:
        """Whether the prompt carries points, a box or a mask."""
        return self.mask is not None or len(self.labels) > 0


def unpack(tensors: Mapping[str, np.ndarray]) -> Iterator[Prompt]:
    """Splits the PROMPT_* tensors of one request (contract.preprocess) by prompt. The arrays are copies."""
    start = masks = 0
    rows = zip(tensors["PROMPT_OBJECT"], tensors["PROMPT_FLAGS"], tensors["PROMPT_COUNT"], strict=True)
    for object_id, bits, count in rows:
        flags = PromptFlag(int(bits))
        mask = low = None
        if PromptFlag.MASK in flags:
            mask = tensors["PROMPT_MASKS"][masks].copy()
            low = tensors["PROMPT_LOW"][masks].copy() if "PROMPT_LOW" in tensors else None
            masks += 1
        rows_of_prompt = slice(start, start + int(count))
        start += int(count)
        points = tensors["PROMPT_POINTS"][rows_of_prompt].copy()
        yield Prompt(int(object_id), flags, points, tensors["PROMPT_LABELS"][rows_of_prompt].copy(), mask, low)

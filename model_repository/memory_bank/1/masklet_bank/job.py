"""What the engines are to make of one object on one frame."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from masklet.contract import KIND_CLICK, KIND_MASK, KIND_TRACKED
from masklet_bank.arrays import Array
from masklet_bank.bank import Reading, Result

NO_POINTS = np.zeros((0, 2), np.float32)
NO_LABELS = np.zeros(0, np.int32)


@dataclass(frozen=True, eq=False)
class Job:
    """One object on one frame. It is tracked, unless there are points, a mask, or a result.

    features        EMBEDDING and HIGH_RES_* of the frame, without leading dimension; one mapping for all jobs of a frame
    reading         what memory attention gets; None: the frame is prompted without memory
    points, labels  [n, 2] float32 model pixels and [n] int32; empty when tracking or for a mask prompt
    mask            [M, M] mask prompt, uint8 or, where masks are soft, float32; or None
    mask_low        [L, L] float32 logits of a soft mask, on the host; or None
    previous        [L, L] float32 logits of the answer that this prompt corrects, or None
    made            a result of which only the memory is made again, or None
    exclusive       the object's memory must not overlap with those of the other exclusive jobs of its frame
    """

    features: Mapping[str, Any]
    reading: Reading | None = None
    points: np.ndarray = field(default_factory=lambda: NO_POINTS)
    labels: np.ndarray = field(default_factory=lambda: NO_LABELS)
    mask: np.ndarray | None = None
    mask_low: np.ndarray | None = None
    previous: Array | None = None
    made: Result | None = None
    exclusive: bool = False

    @property
    def prompted(self) -> bool:
        """Whether a user prompted this object on this frame."""
        return self.made is not None or self.mask is not None or len(self.labels) > 0

    @property
    def kind(self) -> int:
        """KIND of the mask decoder."""
        if self.mask is not None:
            return KIND_MASK
        return KIND_TRACKED if self.reading is not None else KIND_CLICK

    @property
    def tokens(self) -> int:
        """Prompt tokens of the mask decoder. Every prompt ends with one for padding; without points there are two
        (efficienttam_base.py:313-320, modeling/sam/prompt_encoder.py:87-91)."""
        return max(len(self.labels), 1) + 1

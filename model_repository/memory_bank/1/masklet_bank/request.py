"""One request as it reaches the bank."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from masklet.envelope import Envelope
from masklet.errors import BadRequest
from masklet_bank.ledger import VideoId


class MaskPrompt(NamedTuple):
    """The mask of a prompt: [M, M] uint8, or float32 where masks are soft, and then also as low-resolution logits, [L, L] float32."""

    mask: np.ndarray
    low: np.ndarray | None


@dataclass(frozen=True)
class Request:
    """What memory_bank is given.

    owner         the client's token, if it has one
    envelope      what preprocess made of the request, or the error that answers it
    features      EMBEDDING and HIGH_RES_*, without batch dimension, where the bank's arrays live
    masks, lows   [k, M, M] mask prompts and, where masks are soft, [k, L, L] their logits, on the host
    state         [n] uint8, the snapshot to begin from; empty for none
    """

    video_id: VideoId
    start: bool
    end: bool
    owner: str | None
    envelope: Envelope
    features: Mapping[str, Any] = field(default_factory=dict)
    masks: np.ndarray = field(default_factory=lambda: np.zeros((0, 0, 0), np.uint8))
    lows: np.ndarray | None = None
    state: np.ndarray = field(default_factory=lambda: np.zeros(0, np.uint8))

    def mask_prompts(self) -> dict[int, MaskPrompt]:
        """Copies of the masks by object. Raises BadRequest if there are more or fewer than the envelope says."""
        masked, lows = [prompt.object_id for prompt in self.envelope.prompts if prompt.mask], self.lows
        if not len(masked) == len(self.masks) == (len(masked) if lows is None else len(lows)):
            raise BadRequest(f"{len(self.masks)} masks came with an envelope for {len(masked)}. Send requests to the model `tracker`.")
        return {one: MaskPrompt(self.masks[row].copy(), None if lows is None else lows[row].copy()) for row, one in enumerate(masked)}

"""One request as it reaches the bank."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from masklet.envelope import Envelope
from masklet_bank.ledger import VideoId


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

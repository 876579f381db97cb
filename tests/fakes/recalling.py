"""A server in this process whose engines take no time, and whose masks show all that the bank read: frame, memories, clicks, in order."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import numpy as np

from masklet.families import Variant
from masklet.testing import Reply, Request
from masklet_build.in_process import InProcess
from tests.fakes.bank_driver import VARIANT, RecordingStages

SIDE = VARIANT.image_size
_SLOPE = np.add.outer(np.arange(VARIANT.low_size), 2 * np.arange(VARIANT.low_size)) / (3 * VARIANT.low_size) - 0.5


class RecallingStages(RecordingStages):
    """A memory is a number: it follows from what the frame shows and from the memories that were read, so one that differs shows for ever."""

    def call(self, engine: str, inputs: Any) -> dict[str, np.ndarray]:
        made = super().call(engine, inputs)
        self.calls.clear()
        return made

    def image_encoder(self, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        seen = np.abs(inputs["IMAGE"].astype(np.float64)).mean()
        return {"EMBEDDING": np.full((1, VARIANT.hidden, VARIANT.grid, VARIANT.grid), seen, np.float32)}

    def memory_attention(self, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        frames = inputs["EMBEDDING"][inputs["VIDEO"]]
        weights = np.arange(1, inputs["MEMORY"].shape[1] + 1)
        read = (inputs["MEMORY"].mean(axis=(2, 3)) * weights).sum(axis=1) + inputs["SLOT"].sum(axis=1) + inputs["POINTERS"].mean(axis=(1, 2))
        conditioned = frames.copy()
        conditioned[:, 1] = np.sin(read)[:, None, None]
        return {"CONDITIONED": conditioned.astype(np.float32)}

    def mask_decoder(self, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        features = inputs["FEATURES"]
        seen, read = features[:, 0, 0, 0], features[:, 1, 0, 0]
        order = np.arange(1, inputs["POINTS"].shape[1] + 1)[:, None]
        clicks = np.sin((inputs["POINTS"] * order).sum(axis=(1, 2)) / 10)
        level = np.sin(seen + 3 * read + 5 * clicks) / 3
        return {
            "LOW": (_SLOPE + level[:, None, None]).astype(np.float32),
            "IOU": np.abs(level).astype(np.float32),
            "SCORE": (1 + level).astype(np.float32),
            "POINTER": np.broadcast_to(level[:, None], (len(features), VARIANT.hidden)).astype(np.float32),
        }

    def memory_encoder(self, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        level = inputs["LOW"].mean(axis=(1, 2))
        if "RIVALS" in inputs:
            level += np.maximum(inputs["RIVALS"], -1).mean(axis=(1, 2, 3))
        return {"MEMORY": np.broadcast_to(level[:, None, None], (len(level), VARIANT.memory_tokens, 64)).astype(np.float32)}


class Recalling(InProcess):
    """The transport. Threads take turns. `fault`: what a request is answered with instead, if anything; or "silent"."""

    def __init__(self, variant: Variant = VARIANT, fault: Callable[[Request], Reply | str] = lambda request: None) -> None:
        super().__init__(variant, RecallingStages())
        self.fault = fault
        self._one = threading.RLock()

    def _answer(self, request: Request) -> Reply:
        with self._one:
            fault = self.fault(request)
            return (None if fault == "silent" else fault) if fault else super()._answer(request)

    @property
    def videos(self) -> set[int | str]:
        """Ids that were begun."""
        return {request.video_id for request in self.requests if request.start}


def pictures(count: int, seed: int = 0) -> list[np.ndarray]:
    """Frames that differ in what they show on average."""
    rng = np.random.default_rng(seed)
    return [(rng.integers(0, 256, (SIDE, SIDE, 3)) // rng.integers(1, 9)).astype(np.uint8) for _ in range(count)]

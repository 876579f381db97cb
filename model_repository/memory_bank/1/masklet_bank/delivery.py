"""How an execution's answers leave the bank: one by one, as soon as each stands, with the times spent on it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from time import monotonic
from typing import Any

import numpy as np

from masklet.contract import TIMING_FIELDS
from masklet.errors import MaskletError
from masklet_bank.metrics import Observer
from masklet_bank.stages import Stopwatch

Answer = dict[str, np.ndarray] | MaskletError
Send = Callable[[int, Answer], None]


@dataclass(frozen=True)
class Delivery:
    """Hands out the answers of one execution.

    send    takes the place of a request in the execution, and its answer: output tensors of contract.memory_bank without batch dimension, or an error
    begin   when the execution began, in seconds of `monotonic`
    """

    send: Send
    observer: Observer
    begin: float
    watch: Stopwatch

    def __call__(self, place: int, given: Mapping[str, Any], answer: Answer, encoding_s: float = 0.0) -> None:
        """Sends one answer.

        given        the tensors of its request
        encoding_s   seconds that the memories took which its video remembered last
        """
        if isinstance(answer, MaskletError):
            self.observer.refused(answer)
        else:
            answer["TIMES"] = self._times(given, encoding_s)
            if given["SIZE"].all():
                self.observer.answered(monotonic() - float(given["CLOCK"][0]))
        self.send(place, answer)

    def _times(self, given: Mapping[str, Any], encoding_s: float) -> np.ndarray:
        """TIMES in milliseconds. The requests of one execution wait for one another, so its engine times are those of each."""
        received, preprocessed = given["CLOCK"]
        engines = self.watch.seconds
        seconds = {
            "preprocess": preprocessed - received,
            "image_encoder": self.begin - preprocessed,
            "memory_attention": engines.get("memory_attention", 0.0),
            "mask_decoder": engines.get("mask_decoder", 0.0) + engines.get("mask_prompt", 0.0),
            "memory_encoder": encoding_s,
            "memory_bank": monotonic() - self.begin - sum(engines.values()),
        }
        return np.array([1000 * seconds[name] for name in TIMING_FIELDS[:-1]], np.float32)

"""Engines that write down what they are asked and what they answer, row by row."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from masklet.contract import engines
from masklet.families import Variant
from masklet_build.in_process import Stages


@dataclass(frozen=True)
class Seen:
    """One row of one call: copies of its inputs (but for the frame's features) and outputs. `image`: number of the frame."""

    engine: str
    image: int
    inputs: Mapping[str, np.ndarray]
    outputs: Mapping[str, np.ndarray]


class Recorder:
    """Wraps engines that serve one video.

    features   of each frame: IMAGE and its features, without leading dimension
    seen       rows of the calls of all other engines, in order
    """

    def __init__(self, variant: Variant, stages: Stages) -> None:
        self._stages = stages
        self._models = {model.name: model for model in engines(variant)}
        self.features: list[dict[str, np.ndarray]] = []
        self.seen: list[Seen] = []

    def call(self, engine: str, inputs: Mapping[str, np.ndarray]) -> Mapping[str, np.ndarray]:
        """See masklet_bank.stages.Stages."""
        outputs = self._stages.call(engine, inputs)
        if engine == "image_encoder":
            if not self.features or not np.array_equal(self.features[-1]["IMAGE"], inputs["IMAGE"][0]):  # a corrected frame comes again
                self.features.append({name: array[0].copy() for name, array in {**inputs, **outputs}.items()})
            return outputs
        model = self._models[engine]
        own = [tensor.name for tensor in model.inputs if tensor.dims[0] == "B" and tensor.name != "VIDEO"]
        for row in range(len(inputs[own[0]])):
            asked = {name: inputs[name][row].copy() for name in own}
            self.seen.append(Seen(engine, len(self.features) - 1, asked, {name: array[row].copy() for name, array in outputs.items()}))
        return outputs

    def of(self, engine: str) -> list[Seen]:
        """The rows of one engine."""
        return [one for one in self.seen if one.engine == engine]

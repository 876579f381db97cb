"""The five engines in PyTorch on numpy arrays: the reference of parity checks and benchmarks."""

from __future__ import annotations

import copy
from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor, nn

from masklet.contract import engines
from masklet.families import Variant
from masklet_build.models.network import build_stages


class TorchStages:
    """Calls an engine by name, float32 on the CPU, with the tensors of `masklet.contract`."""

    def __init__(self, parameters: Mapping[str, Tensor], variant: Variant) -> None:
        """`parameters`: the official state dict, complete."""
        self.stages = build_stages(parameters, variant)
        self.models = {model.name: model for model in engines(variant)}

    def replaced(self, stages: Mapping[str, nn.Module]) -> TorchStages:
        """The same engines, but for those in `stages`."""
        made = copy.copy(self)
        made.stages = {**self.stages, **stages}
        return made

    def call(self, engine_name: str, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Outputs by name of one engine call. `inputs` has every input of the contract, in its dtype."""
        model = self.models[engine_name]
        arguments = [torch.tensor(inputs[tensor.name]) for tensor in model.inputs]
        with torch.inference_mode():
            outputs = self.stages[engine_name](*arguments)
        return {tensor.name: output.contiguous().numpy() for tensor, output in zip(model.outputs, outputs, strict=True)}

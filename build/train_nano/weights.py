"""Weights to begin with, and their running average."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from masklet.families import Variant
from train_nano.network import Trainable

_TABLES = ("pos_embed", "maskmem_tpos_enc", "no_mem_embed", "no_mem_pos_enc", "no_obj_ptr")
_FOURIER = "positional_encoding_gaussian_matrix"
_TABLE_DEVIATION = 0.02
_LAYER_SCALE = 0.1  # officially 1e-6, for trainings that are a thousand times longer


def fresh_model(variant: Variant, seed: int) -> Trainable:
    """A model with random weights: PyTorch's defaults for layers, small noise for tables, unit noise for the Fourier frequencies.

    The same on every machine and in every process for the same seed; PyTorch's own generator is left as it was.
    """
    with torch.random.fork_rng(devices=()), torch.no_grad():
        torch.manual_seed(seed)
        model = Trainable(variant)
        for name, tensor in model.network.state_dict().items():
            if name.endswith(_FOURIER):
                tensor.normal_()
            elif name.endswith(_TABLES):
                tensor.normal_(std=_TABLE_DEVIATION)
            elif name.endswith("gamma"):
                tensor.fill_(_LAYER_SCALE)
    return model


class Average:
    """Exponential moving average of a model's parameters: steadier than the last step's."""

    def __init__(self, model: nn.Module, keep: float) -> None:
        self.keep = keep
        self.weights = {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}

    @torch.no_grad()
    def update(self, model: nn.Module, step: int) -> None:
        """Takes in the parameters after `step` steps; early on it forgets faster, so that the random beginning is gone soon."""
        keep = min(self.keep, (1 + step) / (10 + step))
        current = model.state_dict()
        torch._foreach_lerp_(list(self.weights.values()), [current[name] for name in self.weights], 1 - keep)


def parameter_groups(model: nn.Module, weight_decay: float) -> list[dict[str, object]]:
    """Matrices and kernels with weight decay; norms, biases, tables and token embeddings without."""
    embeddings = {id(module.weight) for module in model.modules() if isinstance(module, nn.Embedding)}
    decayed: list[Tensor] = []
    others: list[Tensor] = []
    for name, parameter in model.named_parameters():
        plain = parameter.ndim >= 2 and not name.endswith(_TABLES) and id(parameter) not in embeddings
        (decayed if plain else others).append(parameter)
    return [{"params": decayed, "weight_decay": weight_decay}, {"params": others, "weight_decay": 0.0}]

"""Small networks of every variant, exported once per session."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest
import torch

from masklet.families import Variant
from masklet_build.checkpoints.random_weights import random_checkpoint, save_official
from masklet_build.export.onnx_export import export
from masklet_build.models.stages import TorchStages
from masklet_build.models.variants import scaled_down, step_of, variant

SMALL = 64  # pixels: a grid of 4 x 4, smaller than a window; where a network cannot take that, the smallest size that it can


@dataclass(frozen=True)
class Network:
    variant: Variant
    state: dict[str, torch.Tensor]
    stages: TorchStages


@cache
def make_network(name: str, image_size: int) -> Network:
    small = variant(name) if "@" in name else scaled_down(variant(name), image_size)
    state = random_checkpoint(small, seed=1)
    return Network(small, state, TorchStages(state, small))


@pytest.fixture(scope="session")
def network() -> Callable[[str, int], Network]:
    return make_network


@pytest.fixture(scope="session")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], tuple[Network, Path]]:
    @cache
    def export_small(name: str) -> tuple[Network, Path]:
        small = make_network(name, max(SMALL, step_of(variant(name))))
        folder = tmp_path_factory.mktemp(name)
        save_official(small.state, folder / "checkpoint.pt")
        export(small.variant, folder / "checkpoint.pt", folder / "engines")
        return small, folder / "engines"

    return export_small

"""Small networks of every variant. A module's are gone with it, and of many the newest is kept: together they take gigabytes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path

import pytest
import torch

from masklet.families import Variant
from masklet_build.checkpoints.random_weights import random_checkpoint, save_official
from masklet_build.export.onnx_export import export
from masklet_build.models.stages import TorchStages
from masklet_build.models.variants import scaled_down, step_of, variant
from tests.reference.narrow import narrow_sam3

SMALL = 64  # pixels: a grid of 4 x 4, smaller than a window; where a network cannot take that, the smallest size that it can


@dataclass(frozen=True)
class Network:
    variant: Variant
    state: dict[str, torch.Tensor]
    stages: TorchStages


def make_network(name: str, image_size: int) -> Network:
    small = variant(name) if "@" in name else scaled_down(variant(name), image_size)
    state = random_checkpoint(small, seed=1)
    return Network(small, state, TorchStages(state, small))


@pytest.fixture(scope="module")
def narrow() -> Iterator[None]:
    """For a whole module SAM 3 is narrow."""
    with narrow_sam3():
        yield


@pytest.fixture(scope="module")
def network() -> Callable[[str, int], Network]:
    return lru_cache(maxsize=1)(make_network)


@pytest.fixture(scope="module")
def exported(network: Callable[[str, int], Network], tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], tuple[Network, Path]]:
    def small(name: str) -> Network:
        return network(name, max(SMALL, step_of(variant(name))))

    @cache
    def engines(name: str) -> Path:
        folder = tmp_path_factory.mktemp(name)
        save_official(small(name).state, folder / "checkpoint.pt")
        export(small(name).variant, folder / "checkpoint.pt", folder / "engines")
        return folder / "engines"

    return lambda name: (small(name), engines(name))

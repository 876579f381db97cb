"""Checkpoints that are made: the same for the same seed, and alive."""

from __future__ import annotations

import json
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch

from masklet.contract import KIND_CLICK
from masklet_build.checkpoints.random_weights import random_checkpoint
from masklet_build.models.network import parameter_shapes
from masklet_build.models.samples import Sizes, sample_inputs
from masklet_build.models.variants import scaled_down, step_of, variant
from tests.golden import scenarios
from tests.golden.rebuilt import rebuild, weights_sha256

pytestmark = pytest.mark.torch


def test_a_recipe_gives_offset_scale_and_a_generator_per_name_and_stored_tensors_win(tmp_path):
    recipe = {"seed": 11, "params": {"a": {"shape": [2, 3], "offset": 1.0, "scale": 0.5}, "b": {"shape": [2], "offset": 0.0, "scale": 1.0}}}
    (tmp_path / "recipe.json").write_text(json.dumps(recipe))
    np.savez(tmp_path / "calibrated.npz", b=np.float32([7, 8]))
    state = rebuild(tmp_path)
    normal = np.random.Generator(np.random.PCG64(zlib.crc32(b"11/a"))).standard_normal((2, 3), dtype=np.float32)
    assert torch.equal(state["a"], torch.from_numpy(np.float32(1) + np.float32(0.5) * normal))
    assert state["b"].tolist() == [7, 8]
    assert state["a"].dtype == torch.float32


def test_the_hash_covers_names_and_values_but_not_the_order():
    state = {"b": torch.ones(2), "a": torch.zeros(3)}
    assert weights_sha256(state) == weights_sha256(dict(reversed(state.items())))
    assert weights_sha256(state) != weights_sha256({**state, "b": torch.tensor([1.0, 2.0])})
    assert weights_sha256(state) != weights_sha256({"c": torch.ones(2), "a": torch.zeros(3)})


def test_a_random_checkpoint_belongs_to_its_seed():
    tiny = scaled_down(variant("efficienttam_ti_512"), 64)
    first, again, other = (weights_sha256(random_checkpoint(tiny, seed)) for seed in (3, 3, 4))
    assert first == again != other


@pytest.mark.parametrize("name", ["efficienttam_ti_512", "efficienttam_s_2", "nano", "sam2.1_t", "sam2_t", "edgetam"])
def test_a_random_checkpoint_is_complete_and_its_masks_are_neither_empty_nor_full(network, name):
    small = network(name, max(128, step_of(variant(name))))
    assert {key: tuple(value.shape) for key, value in small.state.items()} == parameter_shapes(small.variant)
    for seed in range(4):
        inputs = sample_inputs("mask_decoder", small.variant, Sizes(), seed)
        image = sample_inputs("image_encoder", small.variant, Sizes(), seed)
        inputs.update(small.stages.call("image_encoder", image), KIND=np.int32([KIND_CLICK]), HAS_MASK=np.int32([0]))
        inputs["FEATURES"] = inputs.pop("EMBEDDING")
        result = small.stages.call("mask_decoder", inputs)
        assert result["SCORE"][0] > 0
        assert 0.02 < (result["LOW"] > 0).mean() < 0.7


@pytest.mark.parametrize(("folder", "scenario"), [("sam3_synthetic", "p4"), ("efficienttam_ti_512_synthetic", "p1")])
def test_rebuilt_weights_are_the_recorded_ones(folder, scenario):
    """SAM 3's hold complex numbers."""
    place = Path(__file__).parents[1] / "data" / folder
    assert weights_sha256(rebuild(place)) == scenarios.load(place, scenario).meta["weights_sha256"]

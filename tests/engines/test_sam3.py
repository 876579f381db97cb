"""SAM 3's own stages against their definition, and its checkpoint: the tracker's part of a file that holds a detector too."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch

from masklet_build.checkpoints.loading import CheckpointError, load_checkpoint
from masklet_build.checkpoints.random_weights import random_checkpoint, save_official
from masklet_build.export.bars import worst_excess
from masklet_build.models.sam3.image_encoder import rotary_tables
from masklet_build.models.samples import Sizes, sample_inputs
from masklet_build.models.stages import TorchStages
from masklet_build.models.variants import trunk_of, variant
from tests.reference import plain_sam3

pytestmark = pytest.mark.torch

SMALL = variant("sam3:2@672")  # four windows; one windowed block, one global; narrow
VISION = "detector.backbone.vision_backbone."


@pytest.fixture(scope="module")
def state(narrow) -> dict[str, torch.Tensor]:
    return random_checkpoint(variant("sam3:2@336"), seed=1)  # no tensor depends on the size of images


@pytest.fixture(scope="module")
def stages(state) -> TorchStages:
    return TorchStages(state, SMALL)


def test_image_encoder_equals_its_definition(state, stages):
    inputs = sample_inputs("image_encoder", SMALL, Sizes(V=2), seed=3)
    got = stages.call("image_encoder", inputs)
    with torch.inference_mode():
        wanted = [plain_sam3.image_encoder(state, SMALL, torch.from_numpy(image)) for image in inputs["IMAGE"]]
    for index, name in enumerate(("EMBEDDING", "HIGH_RES_0", "HIGH_RES_1")):
        assert worst_excess(got[name], torch.stack([maps[index] for maps in wanted]).numpy()) <= 1


@pytest.mark.parametrize("binarise", [0, 1])
def test_memory_encoder_equals_its_definition(state, stages, binarise):
    inputs = sample_inputs("memory_encoder", SMALL, Sizes(V=2, B=3), seed=4)
    inputs["BINARISE"][:] = binarise
    inputs["SCORE"][:] = 1, -1, 0
    inputs["LOW"][2] = inputs["RIVALS"][:] = SMALL.family.no_object_score
    got = stages.call("memory_encoder", inputs)["MEMORY"]
    for b in range(3):
        features, low = torch.from_numpy(inputs["EMBEDDING"][inputs["VIDEO"][b]]), torch.from_numpy(inputs["LOW"][b])
        with torch.inference_mode():
            wanted = plain_sam3.memory_encoder(state, SMALL, features, low, float(inputs["SCORE"][b]), bool(binarise))
        assert worst_excess(got[b : b + 1], wanted.numpy()[None]) <= 1


def test_in_a_memory_a_pixel_belongs_to_the_object_that_is_surest_of_it(stages, monkeypatch):
    """As if the mask had been cut by hand: where another's upsampled logits are larger, it is background."""
    inputs = sample_inputs("memory_encoder", SMALL, Sizes(B=1, R=2), seed=8)
    inputs["BINARISE"][:] = 1
    low, rivals = torch.from_numpy(inputs["LOW"]).double(), torch.from_numpy(inputs["RIVALS"][0]).double()

    def large(x):
        return torch.nn.functional.interpolate(x[:, None], SMALL.image_size, mode="bilinear")[:, 0]

    kept = (large(low) > 0) & (large(low) >= large(rivals).amax(0))
    assert 0 < kept.sum() < (large(low) > 0).sum()
    got = stages.call("memory_encoder", inputs)["MEMORY"]
    monkeypatch.setattr(stages.stages["memory_encoder"].encoder, "to_image", torch.nn.Identity())  # the cut mask goes in at the size of images
    nobody = np.full((1, 1, 1, 1), SMALL.family.no_object_score, np.float32)
    wanted = stages.call("memory_encoder", {**inputs, "LOW": np.where(kept, 1, -1).astype(np.float32), "RIVALS": nobody})["MEMORY"]
    assert worst_excess(got, wanted) <= 1


def test_a_soft_mask_is_present_if_any_pixel_has_a_trace_of_it(state, stages):
    inputs = sample_inputs("mask_prompt", SMALL, Sizes(B=3), seed=6)
    inputs["MASK"][1] = 0
    inputs["MASK"][2] = 0
    inputs["MASK"][2, 5, 7] = 1e-6
    got = stages.call("mask_prompt", inputs)
    assert got["PRESENT"].tolist() == [1, 0, 1]
    wanted = torch.stack([plain_sam3.mask_prompt(state, torch.from_numpy(mask)) for mask in inputs["MASK"]])
    assert worst_excess(got["MASK_PROMPT"][:, 0], wanted.numpy()) <= 1


def official_file(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """What the official file holds besides: the detector, its neck, an unused level of the tracker's, rotary tables as complex numbers."""
    tables = rotary_tables(trunk_of(SMALL), SMALL.grid)
    stored = {f"{VISION}trunk.blocks.{index}.attn.freqs_cis": torch.complex(*tables[index in trunk_of(SMALL).global_blocks]) for index in range(2)}
    others = ("detector.transformer.x", f"{VISION}convs.0.conv_1x1.weight", f"{VISION}sam2_convs.3.conv_3x3.bias", "detector.backbone.language.y")
    return {**state, **stored, **{name: torch.zeros(2) for name in others}}


def test_the_trackers_part_of_an_official_file_is_loaded(state, tmp_path):
    save_official(official_file(state), tmp_path / "sam3.pt")
    loaded = load_checkpoint(tmp_path / "sam3.pt", SMALL)
    assert loaded.keys() == state.keys()
    assert all(torch.equal(loaded[name], state[name]) for name in state)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda state: state.pop("tracker.no_obj_ptr"), "1 tensors missing: tracker.no_obj_ptr"),
        (lambda state: state.update({"tracker.more": torch.zeros(1)}), "1 tensors unexpected: tracker.more"),
        (lambda state: state.update({f"{VISION}trunk.blocks.2.norm1.bias": torch.zeros(256)}), "unexpected: .*blocks.2.norm1.bias"),
        (lambda state: state.update({"tracker.no_obj_ptr": torch.zeros(1, 2)}), "of another shape: tracker.no_obj_ptr"),
        (lambda state: state[f"{VISION}trunk.blocks.0.attn.freqs_cis"].mul_(-1), "blocks.0.attn.freqs_cis .* is not the rotary table"),
        (lambda state: state.update({f"{VISION}trunk.blocks.1.attn.freqs_cis": torch.zeros(5184, 32)}), r"freqs_cis \(5184, 32\) is not"),
    ],
    ids=["missing", "unexpected", "a block more", "another shape", "another table", "a table of another size"],
)
def test_a_file_whose_tracker_is_another_is_refused(state, tmp_path, change, says):
    content = official_file(state)
    change(content)
    save_official(content, tmp_path / "sam3.pt")
    with pytest.raises(CheckpointError, match=says):
        load_checkpoint(tmp_path / "sam3.pt", SMALL)


def test_a_file_of_another_variant_says_which_it_is(state, tmp_path):
    save_official(official_file(state), tmp_path / "sam3.pt")
    with pytest.raises(CheckpointError, match=re.escape("looks like a SAM 3 checkpoint")):
        load_checkpoint(tmp_path / "sam3.pt", variant("efficienttam_ti"))

"""What EdgeTAM has of its own computes what its plain definition says, and what the official code printed."""

from __future__ import annotations

import hashlib

import pytest
import torch

from masklet.families import variant
from masklet_build.export.bars import worst_excess
from masklet_build.models.network import parameter_shapes
from masklet_build.models.samples import Sizes, sample_inputs
from tests.reference import edgetam, plain

pytestmark = pytest.mark.torch

SIDE = 512  # pixels: windows of 2 x 2 features

# Of "name shape" of every tensor that the official model has, sorted, a line each; printed by
#   python -c "m = build_sam2_video_predictor('configs/edgetam.yaml', device='cpu').state_dict()
#   print(hashlib.sha256(''.join(f'{name} {tuple(m[name].shape)}\n' for name in sorted(m)).encode()).hexdigest())"
OFFICIAL_NAMES = "c7847bf831ecc4fd11cdb85ab8e314c29fe9f0c4bbaa9137aa6c66679265553e"


def test_the_parameters_are_those_of_the_official_model():
    shapes = parameter_shapes(variant("edgetam"))
    lines = "".join(f"{name} {shapes[name]}\n" for name in sorted(shapes))
    assert len(shapes) == 982
    assert hashlib.sha256(lines.encode()).hexdigest() == OFFICIAL_NAMES


def test_the_image_encoder_equals_its_definition_though_its_norms_and_branches_are_folded(network):
    small = network("edgetam", 256)
    inputs = sample_inputs("image_encoder", small.variant, Sizes(V=2), seed=3)
    got = small.stages.call("image_encoder", inputs)
    for v in range(2):
        wanted = edgetam.image_encoder(small.state, small.variant, torch.from_numpy(inputs["IMAGE"][v]))
        for name, value in zip(("EMBEDDING", "HIGH_RES_0", "HIGH_RES_1"), wanted, strict=True):
            assert worst_excess(got[name][v : v + 1], value.numpy()[None]) <= 1, name


@pytest.mark.parametrize("binarise", [0, 1])
def test_a_memory_is_what_latents_see_of_everything_and_of_a_window_each(network, binarise):
    small = network("edgetam", SIDE)
    inputs = sample_inputs("memory_encoder", small.variant, Sizes(V=2, B=3), seed=4)
    inputs["BINARISE"][:] = binarise
    got = small.stages.call("memory_encoder", inputs)["MEMORY"]
    assert got.shape == (3, 512, 64)
    for b in range(3):
        features, low = (torch.from_numpy(x) for x in (inputs["EMBEDDING"][inputs["VIDEO"][b]], inputs["LOW"][b]))
        wanted = edgetam.perceive(small.state, small.variant, plain.memory_encoder(small.state, features, low, bool(binarise)))
        assert worst_excess(got[b : b + 1], wanted.numpy()[None]) <= 1


@pytest.mark.parametrize("frames", [1, 2, 5])
def test_keys_of_memories_are_turned_on_a_grid_of_windows_and_only_half_of_them(network, frames):
    small = network("edgetam", SIDE)
    inputs = sample_inputs("memory_attention", small.variant, Sizes(V=2, B=3, F=frames, P=3), seed=2)
    got = small.stages.call("memory_attention", inputs)["CONDITIONED"]
    for b in range(3):
        features = torch.from_numpy(inputs["EMBEDDING"][inputs["VIDEO"][b]])
        rest = (torch.from_numpy(inputs[key][b]) for key in ("MEMORY", "SLOT", "POINTERS"))
        wanted = plain.memory_attention(small.state, small.variant, features, *rest)
        assert worst_excess(got[b : b + 1], wanted.numpy()[None]) <= 1


def test_an_object_has_the_same_memory_alone_and_among_others(network):
    small = network("edgetam", SIDE)
    inputs = sample_inputs("memory_encoder", small.variant, Sizes(V=1, B=3), seed=6)
    together = small.stages.call("memory_encoder", inputs)["MEMORY"]
    for b in range(3):
        alone = small.stages.call("memory_encoder", {**inputs, **{name: inputs[name][b : b + 1] for name in ("VIDEO", "LOW", "BINARISE")}})["MEMORY"]
        assert worst_excess(together[b : b + 1], alone) <= 1

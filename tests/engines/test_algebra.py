"""The rewritten stages compute what their plain definitions say."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from masklet.contract import KIND_CLICK, KIND_MASK, KIND_TRACKED
from masklet_build.onnx_export import worst_excess
from masklet_build.samples import Sizes, sample_inputs
from masklet_build.torch_stages import TorchStages
from reference import plain

pytestmark = pytest.mark.torch

POOLINGS = ["efficienttam_ti_512", "efficienttam_ti_1", "efficienttam_ti_2"]
SCORE_BIAS = "sam_mask_decoder.pred_obj_score_head.layers.2.bias"
SINGLE_MASK = "sam_mask_decoder.output_hypernetworks_mlps.0.layers.2"


def tensor(array: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(array)


@pytest.mark.parametrize("frames", [1, 2, 5])
@pytest.mark.parametrize("name", [*POOLINGS, "nano"])
def test_memory_attention_equals_its_definition(network, name, frames):
    small = network(name, 128)
    inputs = sample_inputs("memory_attention", small.variant, Sizes(V=2, B=3, F=frames, P=3), seed=2)
    got = small.stages.call("memory_attention", inputs)["CONDITIONED"]
    for b in range(3):
        features = tensor(inputs["EMBEDDING"][inputs["VIDEO"][b]])
        rest = (tensor(inputs[key][b]) for key in ("MEMORY", "SLOT", "POINTERS"))
        wanted = plain.memory_attention(small.state, small.variant, features, *rest)
        assert worst_excess(got[b : b + 1], wanted.numpy()[None]) <= 1


def test_the_two_poolings_and_none_differ_from_two_frames_on_only(network):
    sizes = {frames: Sizes(F=frames) for frames in (1, 2)}
    results = {
        frames: [
            network(name, 128).stages.call("memory_attention", sample_inputs("memory_attention", network(name, 128).variant, size, seed=2))
            for name in POOLINGS
        ]
        for frames, size in sizes.items()
    }
    single, pair = ([result["CONDITIONED"] for result in results[frames]] for frames in (1, 2))
    assert worst_excess(single[0], single[1]) <= 1
    assert worst_excess(single[0], single[2]) <= 1
    assert min(worst_excess(pair[a], pair[b]) for a, b in ((0, 1), (0, 2), (1, 2))) > 100


@pytest.mark.parametrize(("name", "size"), [("efficienttam_ti_512", 128), ("efficienttam_ti_512", 256), ("efficienttam_s", 128), ("nano", 256)])
def test_image_encoder_equals_its_definition_with_windows_that_overhang_the_grid(network, name, size):
    small = network(name, size)
    inputs = sample_inputs("image_encoder", small.variant, Sizes(V=2), seed=3)
    got = small.stages.call("image_encoder", inputs)["EMBEDDING"]
    for v in range(2):
        wanted = plain.image_encoder(small.state, small.variant, tensor(inputs["IMAGE"][v]))
        assert worst_excess(got[v : v + 1], wanted.numpy()[None]) <= 1


@pytest.mark.parametrize("binarise", [0, 1])
@pytest.mark.parametrize("name", ["efficienttam_ti_512", "nano"])
def test_memory_encoder_equals_its_definition(network, name, binarise):
    small = network(name, 128)
    inputs = sample_inputs("memory_encoder", small.variant, Sizes(V=2, B=3), seed=4)
    inputs["BINARISE"][:] = binarise
    inputs["LOW"][2] = small.variant.family.no_object_score
    got = small.stages.call("memory_encoder", inputs)["MEMORY"]
    for b in range(3):
        features = tensor(inputs["EMBEDDING"][inputs["VIDEO"][b]])
        wanted = plain.memory_encoder(small.state, features, tensor(inputs["LOW"][b]), bool(binarise))
        assert worst_excess(got[b : b + 1], wanted.numpy()[None]) <= 1


def decoder_inputs(variant, *, kind: int, multimask: int, with_mask: bool = False, points: int = 1, present: int = 1) -> dict[str, np.ndarray]:
    inputs = sample_inputs("mask_decoder", variant, Sizes(N=points + 1), seed=5)
    values = {"KIND": kind, "HAS_MASK": int(with_mask), "MULTIMASK": multimask, "PRESENT": present}
    return {**inputs, **{name: np.array([value], dtype=np.int32) for name, value in values.items()}}


def plain_decode(state, variant, inputs) -> plain.Decoded:
    features = tensor(inputs["FEATURES"][0])
    if inputs["KIND"][0] == KIND_CLICK:
        features = features + state["no_mem_embed"].reshape(-1, 1, 1)
    mask = tensor(inputs["MASK_PROMPT"][0, 0]) if inputs["HAS_MASK"][0] else None
    return plain.decode(state, variant, features, tensor(inputs["POINTS"][0]), tensor(inputs["LABELS"][0]), mask)


def close(got: np.ndarray, wanted: torch.Tensor) -> bool:
    return worst_excess(got, wanted.detach().numpy()[None]) <= 1


@pytest.mark.parametrize("kind", [KIND_TRACKED, KIND_CLICK])
@pytest.mark.parametrize("with_mask", [False, True])
@pytest.mark.parametrize(("name", "points"), [("efficienttam_ti_512", 1), ("efficienttam_ti_512", 2), ("efficienttam_ti_512", 4), ("nano", 2)])
def test_multimask_takes_the_best_of_three_masks_and_its_token(network, kind, with_mask, name, points):
    small = network(name, 128)
    inputs = decoder_inputs(small.variant, kind=kind, multimask=1, with_mask=with_mask, points=points)
    wanted = plain_decode(small.state, small.variant, inputs)
    best = 1 + int(wanted.ious[1:].argmax())
    got = small.stages.call("mask_decoder", inputs)
    assert wanted.score > 0
    assert close(got["LOW"], wanted.masks[best])
    assert close(got["IOU"], wanted.ious[best])
    assert close(got["SCORE"], wanted.score)
    assert close(got["POINTER"], plain.mlp(wanted.tokens[best], small.state, "obj_ptr_proj"))


def with_single_mask_scaled(state, factor):
    return {name: value * factor if name.startswith(SINGLE_MASK) else value for name, value in state.items()}


@pytest.mark.parametrize(("factor", "stable"), [(20.0, True), (0.05, False)])
def test_the_single_mask_gives_way_to_the_best_of_three_when_unstable_but_its_token_stays(network, factor, stable):
    small = network("efficienttam_ti_512", 128)
    state = with_single_mask_scaled(small.state, factor)
    inputs = decoder_inputs(small.variant, kind=KIND_CLICK, multimask=0, points=3)
    wanted = plain_decode(state, small.variant, inputs)
    chosen = 0 if stable else 1 + int(wanted.ious[1:].argmax())
    assert (plain.stability(wanted.masks[0]) >= 0.98) == stable
    got = TorchStages(state, small.variant).call("mask_decoder", inputs)
    assert close(got["LOW"], wanted.masks[chosen])
    assert close(got["IOU"], wanted.ious[chosen])
    assert close(got["POINTER"], plain.mlp(wanted.tokens[0], state, "obj_ptr_proj"))


def test_a_single_mask_without_any_foreground_counts_as_stable(network):
    small = network("efficienttam_ti_512", 128)
    state = with_single_mask_scaled(small.state, 0.0)
    # No upscaled feature is below -0.17 (GELU) and some are far above 0, so that minus their sum is negative everywhere.
    state[f"{SINGLE_MASK}.bias"] = torch.full((32,), -100.0)
    inputs = decoder_inputs(small.variant, kind=KIND_CLICK, multimask=0)
    wanted = plain_decode(state, small.variant, inputs)
    assert float(wanted.masks[0].max()) < -0.05
    got = TorchStages(state, small.variant).call("mask_decoder", inputs)
    assert close(got["LOW"], wanted.masks[0])


@pytest.mark.parametrize("multimask", [0, 1])
def test_an_absent_object_has_no_mask_and_the_pointer_for_it(network, multimask):
    small = network("efficienttam_ti_512", 128)
    state = {**small.state, SCORE_BIAS: small.state[SCORE_BIAS] - 20}
    inputs = decoder_inputs(small.variant, kind=KIND_TRACKED, multimask=multimask)
    wanted = plain_decode(state, small.variant, inputs)
    got = TorchStages(state, small.variant).call("mask_decoder", inputs)
    assert wanted.score < 0
    assert close(got["SCORE"], wanted.score)
    np.testing.assert_array_equal(got["LOW"], small.variant.family.no_object_score)
    np.testing.assert_array_equal(got["POINTER"], state["no_obj_ptr"].numpy())


@pytest.mark.parametrize("multimask", [0, 1])
def test_a_users_mask_keeps_its_own_score_and_the_token_of_the_single_mask(network, multimask):
    small = network("efficienttam_ti_512", 128)
    inputs = decoder_inputs(small.variant, kind=KIND_MASK, multimask=multimask, with_mask=True)
    wanted = plain_decode(small.state, small.variant, inputs)
    got = small.stages.call("mask_decoder", inputs)
    assert close(got["POINTER"], plain.mlp(wanted.tokens[0], small.state, "obj_ptr_proj"))
    assert (got["SCORE"][0], got["IOU"][0]) == (10.0, 1.0)


@pytest.mark.parametrize(("present", "shift", "score"), [(0, 0.0, -10.0), (1, -20.0, 10.0)])
def test_a_users_mask_has_no_pointer_if_it_is_empty_or_the_decoder_sees_nothing(network, present, shift, score):
    small = network("efficienttam_ti_512", 128)
    state = {**small.state, SCORE_BIAS: small.state[SCORE_BIAS] + shift}
    inputs = decoder_inputs(small.variant, kind=KIND_MASK, multimask=0, with_mask=True, present=present)
    got = TorchStages(state, small.variant).call("mask_decoder", inputs)
    np.testing.assert_array_equal(got["POINTER"], state["no_obj_ptr"].numpy())
    assert (got["SCORE"][0], got["IOU"][0]) == (score, 1.0)


def test_mask_prompt_equals_the_antialiased_resize_and_the_learned_convolution(network):
    small = network("efficienttam_ti_512", 128)
    mask = sample_inputs("mask_prompt", small.variant, Sizes(B=3), seed=6)["MASK"]
    mask[1] = 0
    got = small.stages.call("mask_prompt", {"MASK": mask})
    pixels = tensor(mask).float()[:, None]
    low = torch.nn.functional.interpolate(20 * pixels - 10, scale_factor=0.25, mode="bilinear", antialias=True)
    prompt = torch.nn.functional.conv2d(pixels, small.state["mask_downsample.weight"], small.state["mask_downsample.bias"], stride=4)
    assert worst_excess(got["LOW"], low[:, 0].numpy()) <= 1
    assert worst_excess(got["MASK_PROMPT"], prompt.numpy()) <= 1
    np.testing.assert_array_equal(got["PRESENT"], [1, 0, 1])

"""The rewritten stages compute what their plain definitions say."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from masklet.contract import KIND_CLICK, KIND_MASK, KIND_TRACKED
from masklet_build.export.bars import worst_excess
from masklet_build.models.samples import Sizes, sample_inputs
from masklet_build.models.stages import TorchStages
from tests.reference import hiera, plain

pytestmark = pytest.mark.torch

POOLINGS = ["efficienttam_ti_512", "efficienttam_ti_1", "efficienttam_ti_2"]
SCORE_BIAS = "sam_mask_decoder.pred_obj_score_head.layers.2.bias"
SINGLE_MASK = "sam_mask_decoder.output_hypernetworks_mlps.0.layers.2"


def tensor(array: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(array)


@pytest.mark.parametrize("frames", [1, 2, 5])
@pytest.mark.parametrize("name", [*POOLINGS, "nano", "sam2.1_t", "sam2_t"])
def test_memory_attention_equals_its_definition(network, name, frames):
    small = network(name, 128)
    inputs = sample_inputs("memory_attention", small.variant, Sizes(V=2, B=3, F=frames, P=3), seed=2)
    if "DISTANCE" in inputs:  # 0: a prompted frame, again; far: a prompted frame long ago
        inputs["DISTANCE"][:] = [[0, 1, 15], [3, 2, 1000], [1, 0, 7]]
    got = small.stages.call("memory_attention", inputs)["CONDITIONED"]
    for b in range(3):
        features = tensor(inputs["EMBEDDING"][inputs["VIDEO"][b]])
        rest = (tensor(inputs[key][b]) for key in ("MEMORY", "SLOT", "POINTERS", "DISTANCE") if key in inputs)
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


@pytest.mark.parametrize(("name", "size"), [("sam2.1_t", 64), ("sam2.1_t", 512), ("sam2.1_b+", 128), ("sam2_t", 64)])
def test_the_image_encoder_of_sam_2_equals_its_definition(network, name, size):
    """At 512 pixels the third stage has 3 x 3 windows that overhang its map, also in the block that halves it."""
    small = network(name, size)
    inputs = sample_inputs("image_encoder", small.variant, Sizes(V=2 if size < 512 else 1), seed=3)
    got = small.stages.call("image_encoder", inputs)
    for v, image in enumerate(inputs["IMAGE"]):
        wanted = hiera.image_encoder(small.state, small.variant, tensor(image))
        for output, value in zip(("EMBEDDING", "HIGH_RES_0", "HIGH_RES_1"), wanted, strict=True):
            assert worst_excess(got[output][v : v + 1], value.numpy()[None]) <= 1, output


@pytest.mark.parametrize("binarise", [0, 1])
@pytest.mark.parametrize("name", ["efficienttam_ti_512", "nano", "sam2.1_t", "sam2_t"])
def test_memory_encoder_equals_its_definition(network, name, binarise):
    small = network(name, 128)
    inputs = sample_inputs("memory_encoder", small.variant, Sizes(V=2, B=3), seed=4)
    inputs["BINARISE"][:] = binarise
    inputs["LOW"][2] = small.variant.family.no_object_score
    if "SCORE" in inputs:
        inputs["SCORE"][:] = [0.1, 0.0, -0.1]  # present, and twice absent
    got = small.stages.call("memory_encoder", inputs)["MEMORY"]
    for b in range(3):
        features = tensor(inputs["EMBEDDING"][inputs["VIDEO"][b]])
        score = float(inputs["SCORE"][b]) if "SCORE" in inputs else None
        wanted = plain.memory_encoder(small.state, features, tensor(inputs["LOW"][b]), bool(binarise), score)
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
    maps = tuple(tensor(inputs[name][inputs["VIDEO"][0]]) for name in ("HIGH_RES_0", "HIGH_RES_1") if name in inputs)
    return plain.decode(state, variant, features, tensor(inputs["POINTS"][0]), tensor(inputs["LABELS"][0]), mask, maps)


def close(got: np.ndarray, wanted: torch.Tensor) -> bool:
    return worst_excess(got, wanted.detach().numpy()[None]) <= 1


@pytest.mark.parametrize("kind", [KIND_TRACKED, KIND_CLICK])
@pytest.mark.parametrize("with_mask", [False, True])
@pytest.mark.parametrize(("name", "points"), [*((POOLINGS[0], points) for points in (1, 2, 4)), ("nano", 2), ("sam2.1_t", 1)])
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


def test_each_object_gets_the_high_resolution_maps_of_its_own_video(network):
    small = network("sam2.1_t", 64)
    inputs = {**sample_inputs("mask_decoder", small.variant, Sizes(V=2, B=3), seed=5), "VIDEO": np.int32([1, 0, 1])}
    together = small.stages.call("mask_decoder", inputs)
    per_video = ("HIGH_RES_0", "HIGH_RES_1")
    for b, v in enumerate(inputs["VIDEO"]):
        alone = {name: array[v : v + 1] if name in per_video else array[b : b + 1] for name, array in inputs.items()}
        got = small.stages.call("mask_decoder", {**alone, "VIDEO": np.int32([0])})
        assert all(worst_excess(together[name][b : b + 1], got[name]) <= 1 for name in got)


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

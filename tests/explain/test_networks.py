"""Of networks of every family: shares of attention are exact, and go where they must if one knows what a memory holds; the candidate masks are those
that the decoder chose from, and the one that is said to be taken is the one that it took."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")

import torch

from masklet.contract import KIND_CLICK, KIND_MASK, KIND_TRACKED
from masklet.families import MEMORY_WIDTH
from masklet_build.explain.attention import attention
from masklet_build.explain.candidates import candidates
from masklet_build.models.sam.memory_attention import MemoryAttention, rotate
from masklet_build.models.samples import Sizes, sample_inputs
from tests.explain.networks import SMALL, small_network
from tests.explain.recordings import click, recorded, why

pytestmark = pytest.mark.torch

F, P = 3, 2
LOUD = 1e4  # of a planted token: its logit is far above all others


@pytest.fixture(params=SMALL, scope="module")
def small(request: pytest.FixtureRequest) -> Any:
    """A variant, and its stages."""
    return small_network(request.param)


def inputs_of(variant: Any, memories: int = F) -> dict[str, np.ndarray]:
    made = sample_inputs("memory_attention", variant, Sizes(F=memories, P=P), seed=3)
    return {**made, "SLOT": np.array([[6, *range(memories - 2, -1, -1)]], np.int32)}


def evenly(variant: Any) -> np.ndarray:
    return np.full((variant.grid, variant.grid), variant.grid**-2.0)


def at(variant: Any, row: int, column: int) -> np.ndarray:
    made = np.zeros((variant.grid, variant.grid))
    made[row, column] = 1
    return made


@pytest.mark.parametrize("memories", [1, F])
def test_shares_sum_to_one_and_give_the_output_of_the_network(small: Any, memories: int) -> None:
    variant, stages = small
    stage, inputs = stages.stages["memory_attention"], inputs_of(variant, memories)
    before = stages.call("memory_attention", inputs)["CONDITIONED"]
    found = attention(stage, inputs, variant, evenly(variant))
    assert found.memories.shape == (variant.memory_layers, memories)
    np.testing.assert_allclose(found.memories.sum(axis=1) + found.pointers.sum(axis=1), 1, atol=1e-12)
    np.testing.assert_allclose(found.nowhere + found.maps.sum(axis=(2, 3)), found.memories, atol=1e-12)
    assert (found.maps.min(), found.sum_error < 1e-12, found.output_error < 1e-4) == (pytest.approx(0, abs=1), True, True)
    assert np.array_equal(stages.call("memory_attention", inputs)["CONDITIONED"], before), "the network is as it was"
    assert "core" not in vars(stage.layers[0].cross_attention)


def test_each_query_counts_as_much_as_it_is_said_to(small: Any) -> None:
    variant, stages = small
    stage, inputs = stages.stages["memory_attention"], inputs_of(variant)
    places = {(0, 0): 0.5, (1, 2): 0.3, (variant.grid - 1, 3): 0.2}
    alone = sum(weight * attention(stage, inputs, variant, at(variant, *place)).memories for place, weight in places.items())
    together = attention(stage, inputs, variant, sum(weight * at(variant, *place) for place, weight in places.items())).memories
    np.testing.assert_allclose(together, alone, rtol=1e-12)


def test_memories_that_change_places_change_shares(small: Any) -> None:
    variant, stages = small
    stage, inputs = stages.stages["memory_attention"], inputs_of(variant)
    turned = {**inputs, "MEMORY": inputs["MEMORY"][:, ::-1].copy(), "SLOT": inputs["SLOT"][:, ::-1].copy()}
    found, other = (attention(stage, one, variant, evenly(variant)) for one in (inputs, turned))
    np.testing.assert_allclose(other.memories, found.memories[:, ::-1], atol=1e-5)
    np.testing.assert_allclose(other.maps, found.maps[:, ::-1], atol=1e-5)


def query(stage: MemoryAttention, inputs: dict[str, np.ndarray], place: int) -> Any:
    """The first layer's query of a place: no object has a part in it."""
    first = stage.layers[0]
    tokens = torch.tensor(inputs["EMBEDDING"]).flatten(2).transpose(1, 2)
    x = first.attend_self(tokens + stage.position, stage.cosine, stage.sine)
    return first.cross_query(x, stage.cosine, stage.sine)[0, place]


def test_a_memory_that_holds_what_a_place_looks_for_gets_its_attention_where_it_holds_it(small: Any) -> None:
    """A key is K m, turned by its place. The memory m = K^T (q turned back) has the largest product with q that a memory of its length can have."""
    variant, stages = small
    stage, inputs = stages.stages["memory_attention"], inputs_of(variant)
    latents = variant.perceiver.latents if variant.perceiver else 0
    side = variant.perceiver.windows if variant.perceiver else variant.grid
    row, column = side - 2, 1  # where the memory holds it
    token = latents + row * side + column
    with torch.inference_mode():
        q = query(stage, inputs, place=3)
        back = rotate(q[None], stage.key_cosine[token : token + 1], -stage.key_sine[token : token + 1])
        planted = (back @ stage.layers[0].cross_attention.key.weight)[0]
    inputs["MEMORY"][0, 1, token] = LOUD * (planted / planted.norm()).numpy()
    found = attention(stage, inputs, variant, at(variant, 0, 3))
    scale = side // found.maps.shape[2]  # 2 where keys are pooled
    assert found.memories[0, 1] > 0.99
    assert np.unravel_index(found.maps[0, 1].argmax(), found.maps.shape[2:]) == (row // scale, column // scale)
    assert found.maps[0, 1].max() > 0.99


def test_a_pointer_that_is_what_a_place_looks_for_gets_its_attention(small: Any) -> None:
    variant, stages = small
    stage, inputs = stages.stages["memory_attention"], inputs_of(variant)
    with torch.inference_mode():
        planted = query(stage, inputs, place=3) @ stage.layers[0].cross_attention.key.weight
    inputs["POINTERS"][0, 1, MEMORY_WIDTH : 2 * MEMORY_WIDTH] = LOUD * (planted / planted.norm()).numpy()  # the second of its tokens
    assert attention(stage, inputs, variant, at(variant, 0, 3)).pointers[0, 1] > 0.99


def test_a_latent_without_a_place_is_in_no_map() -> None:
    variant, stages = small_network("edgetam@256")
    stage, inputs = stages.stages["memory_attention"], inputs_of(variant)
    with torch.inference_mode():
        planted = query(stage, inputs, place=3) @ stage.layers[0].cross_attention.key.weight  # such latents are not turned
    inputs["MEMORY"][0, 2, 7] = LOUD * (planted / planted.norm()).numpy()
    found = attention(stage, inputs, variant, at(variant, 0, 3))
    assert found.nowhere[0, 2] > 0.99
    assert found.maps[0].sum() < 0.01


def test_a_query_without_preference_attends_evenly(small: Any) -> None:
    """What the network makes of queries that are zero: pooled keys may weigh more than pointers even then."""
    variant, stages = small
    stage, inputs = stages.stages["memory_attention"], inputs_of(variant)
    last = stage.layers[-1].cross_attention.query
    kept = last.weight.clone(), last.bias.clone()
    last.weight.zero_(), last.bias.zero_()
    try:
        found = attention(stage, inputs, variant, evenly(variant))
    finally:
        last.weight.copy_(kept[0]), last.bias.copy_(kept[1])
    of_memory, of_pointer = found.even
    np.testing.assert_allclose(found.memories[-1], of_memory, rtol=1e-6)
    np.testing.assert_allclose(found.pointers[-1], of_pointer, rtol=1e-6)
    if variant.pooling == "efficient1":  # its boost stands for the tokens that were pooled
        tokens = F * variant.grid**2 + P * variant.hidden // MEMORY_WIDTH
        assert of_memory == pytest.approx(variant.grid**2 / tokens)


ROUNDING = {"rtol": 1e-4, "atol": 1e-4}


def calls(variant: Any, **fixed: int) -> list[dict[str, np.ndarray]]:
    made = []
    for seed in range(6):
        inputs = sample_inputs("mask_decoder", variant, Sizes(N=2), seed)
        made.append({**inputs, **{name: np.array([value], np.int32) for name, value in fixed.items()}})
    return made


@pytest.mark.parametrize("kind", [KIND_TRACKED, KIND_CLICK])
@pytest.mark.parametrize("multimask", [0, 1])
def test_the_mask_taken_is_the_one_that_the_decoder_gives(small: Any, kind: int, multimask: int) -> None:
    variant, stages = small
    for inputs in calls(variant, KIND=kind, MULTIMASK=multimask):
        given, found = stages.call("mask_decoder", inputs), candidates(stages.stages["mask_decoder"], inputs, variant)
        assert found is not None
        assert found.score == pytest.approx(float(given["SCORE"][0]), rel=1e-4, abs=1e-4)
        assert found.ious[found.taken] == pytest.approx(float(given["IOU"][0]), abs=1e-5)
        if given["SCORE"][0] > 0:
            np.testing.assert_allclose(found.logits[found.taken], given["LOW"][0], **ROUNDING)
        assert found.several == bool(multimask)
        assert found.taken == 1 + int(np.argmax(found.ious[1:])) or (not multimask and found.taken == 0)


def test_both_the_single_mask_and_its_replacement_occur() -> None:
    """So that the test above has seen the rule of stability say yes and no."""
    variant, stages = small_network("efficienttam_ti_512@64")
    found = [candidates(stages.stages["mask_decoder"], inputs, variant) for inputs in calls(variant, KIND=KIND_TRACKED, MULTIMASK=0)]
    threshold = variant.family.stability_threshold
    assert {(one.taken == 0, one.stability[0] >= threshold) for one in found if one} == {(True, True), (False, False)}


def test_a_users_mask_has_no_candidates(small: Any) -> None:
    variant, stages = small
    assert candidates(stages.stages["mask_decoder"], calls(variant, KIND=KIND_MASK)[0], variant) is None


def test_a_recording_of_every_family_is_explained(small: Any, tmp_path: Path) -> None:
    variant, _ = small
    made, page = why(recorded(tmp_path, lambda video: click(video, range(4)), variant.name), 1, 3, variant.name)
    (answer,) = made.answers
    assert answer.attention is not None
    assert answer.choice is not None
    assert [one.frame for one in answer.attention.memories] == [0, 1, 2]
    assert sum(one.share for one in (*answer.attention.memories, *answer.attention.pointers)) == pytest.approx(1)
    assert [one.agreement for one in made.moments] == [1.0] * 4
    assert ("at no place" in page) == (variant.perceiver is not None)

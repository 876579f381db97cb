"""Every stage answers as the model of Hugging Face transformers with the same weights.

transformers is another implementation of the official networks, by other authors. Its image models and ours share no code, so that agreement up to
rounding says that names, tensors and formulas are the same.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch

from masklet.contract import KIND_TRACKED
from masklet.families import VARIANTS
from masklet_build.export.bars import worst_excess
from masklet_build.models.samples import Sizes, sample_inputs

pytest.importorskip("transformers")

from tests.reference import transformers_models
from tests.reference.transformers_models import Pair

pytestmark = pytest.mark.torch


SMALL = {"sam2.1": "sam2.1_t@256", "sam2": "sam2_t@256", "sam3": "sam3:2@672", "edgetam": "edgetam@512"}  # of the families that transformers has


@pytest.fixture(scope="module", params=[SMALL[family] for family in {variant.family.name: None for variant in VARIANTS.values()} if family in SMALL])
def pair(narrow, request) -> Iterator[Pair]:
    yield transformers_models.made(request.param)
    transformers_models.made.cache_clear()


def inputs(pair: Pair, stage: str, **sizes: int) -> dict[str, Any]:
    return sample_inputs(stage, pair.variant, Sizes(**sizes), seed=1)


def sequence(maps: np.ndarray) -> torch.Tensor:
    """Maps [1, C, n, n] as transformers passes features: [n n, 1, C]."""
    return torch.tensor(maps).flatten(2).permute(2, 0, 1)


def places_of_memory(pair: Pair) -> torch.Tensor:
    """transformers' code of the places of a memory's tokens, [T, 1, 64]."""
    shape = (1, 64, pair.variant.grid, pair.variant.grid)
    places = pair.theirs.memory_encoder.position_encoding(shape, "cpu", torch.float32)
    if pair.variant.perceiver:
        return pair.theirs.spatial_perceiver(torch.zeros(shape), places)[1].permute(1, 0, 2)
    return places.flatten(2).permute(2, 0, 1)


def assert_near(ours: np.ndarray, theirs: torch.Tensor) -> None:
    assert worst_excess(ours, theirs.detach().numpy()) <= 1


def test_image_encoders_agree(pair):
    if pair.variant.perceiver:
        pytest.skip("the trunk of transformers' EdgeTAM is timm's")
    given, family = inputs(pair, "image_encoder", V=2), pair.variant.family
    pixels = (torch.tensor(given["IMAGE"]) / 255 - torch.tensor(family.pixel_mean)) / torch.tensor(family.pixel_std)
    levels = pair.theirs.get_image_features(pixels.permute(0, 3, 1, 2), return_dict=True).fpn_hidden_states
    ours = pair.ours.call("image_encoder", given)
    for name, theirs in zip(("HIGH_RES_0", "HIGH_RES_1", "EMBEDDING"), levels, strict=True):
        assert_near(ours[name], theirs.permute(1, 2, 0).reshape(ours[name].shape))


def test_memory_attentions_agree(pair):
    given = inputs(pair, "memory_attention", F=3, P=2)
    distances = [7, 2]
    if pair.variant.family.pointer_time:
        given["DISTANCE"] = np.array([distances], np.float32)
    theirs, shape = pair.theirs, given["EMBEDDING"].shape
    place = places_of_memory(pair)
    times = [place + theirs.memory_temporal_positional_encoding[slot] for slot in given["SLOT"][0]]
    pointers, pointer_times = theirs._process_object_pointers(distances, list(torch.tensor(given["POINTERS"][0, :, None])), 16, 1, shape[1], "cpu")
    conditioned = theirs.memory_attention(
        current_vision_features=sequence(given["EMBEDDING"]),
        current_vision_position_embeddings=theirs.vision_encoder.neck.position_encoding(shape, "cpu", torch.float32).flatten(2).permute(2, 0, 1),
        memory=torch.cat((torch.tensor(given["MEMORY"][0]).flatten(0, 1)[:, None], pointers)),
        memory_posision_embeddings=torch.cat((*times, pointer_times)),
        num_object_pointer_tokens=len(pointers),
        **({"num_spatial_memory_tokens": len(times)} if pair.variant.perceiver else {}),
    )
    assert_near(pair.ours.call("memory_attention", given)["CONDITIONED"], conditioned.squeeze(1).transpose(1, 2).reshape(shape))


@pytest.mark.parametrize("multimask", [True, False])
def test_mask_decoders_agree(pair, multimask):
    given = inputs(pair, "mask_decoder", N=3)
    given |= {"KIND": np.array([KIND_TRACKED], np.int32), "HAS_MASK": np.zeros(1, np.int32), "MULTIMASK": np.array([multimask], np.int32)}
    given["LABELS"] = np.array([[1, 0, -1]], np.int32)  # transformers adds the last itself
    theirs = pair.theirs._single_frame_forward(
        image_embeddings=[torch.tensor(given[name]) for name in ("HIGH_RES_0", "HIGH_RES_1", "FEATURES")],
        input_points=torch.tensor(given["POINTS"])[:, None, :2],
        input_labels=torch.tensor(given["LABELS"])[:, None, :2],
        multimask_output=multimask,
    )
    ours = pair.ours.call("mask_decoder", given)
    assert ours["SCORE"] > 0, "an absent object has neither mask nor pointer to compare"
    assert_near(ours["SCORE"], theirs.object_score_logits.reshape(1))
    assert_near(ours["LOW"], theirs.pred_masks[0])
    assert_near(ours["POINTER"], theirs.object_pointer[0])
    assert_near(ours["IOU"], theirs.iou_scores.max(dim=-1).values.reshape(1))


@pytest.mark.parametrize(("binarise", "score"), [(0, 3.0), (1, 3.0), (0, -3.0)])
def test_memory_encoders_agree(pair, binarise, score):
    """The mask as the official code prepares it: of SAM 3 transformers resizes the logits, the official code what was made of them."""
    given, family, theirs = inputs(pair, "memory_encoder") | {"BINARISE": np.array([binarise], np.int32)}, pair.variant.family, pair.theirs
    if "RIVALS" in given:
        given["RIVALS"] = np.full_like(given["RIVALS"], -1024)  # transformers leaves the pixels of other objects to its caller
    masks = resized(torch.tensor(given["LOW"])[:, None], pair.variant.image_size)
    masks = family.sigmoid_scale * ((masks > 0).float() if binarise else masks.sigmoid()) + family.sigmoid_bias
    memory, places = theirs.memory_encoder(torch.tensor(given["EMBEDDING"]), resized(masks, pair.variant.mask_size))
    if family.occlusion_embedding:
        given["SCORE"] = np.array([score], np.float32)
        memory += (score <= 0) * theirs.occlusion_spatial_embedding_parameter[:, :, None, None]
    expected = theirs.spatial_perceiver(memory, places)[0] if pair.variant.perceiver else memory.flatten(2).transpose(1, 2)
    assert_near(pair.ours.call("memory_encoder", given)["MEMORY"], expected)


def resized(masks: torch.Tensor, side: int) -> torch.Tensor:
    """Bilinear, upwards: no difference between with and without antialias."""
    return masks if masks.shape[-1] == side else torch.nn.functional.interpolate(masks, size=(side, side), mode="bilinear", align_corners=False)

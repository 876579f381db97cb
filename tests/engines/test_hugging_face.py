"""Models of Hugging Face transformers under the official names: the same tensors, and the same answers stage by stage.

transformers is an implementation of its own of the same networks. No weights are downloaded: its models are built from its configurations, with
its initial weights and noise on every tensor.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
import torch

from masklet.contract import KIND_TRACKED
from masklet.families import VARIANTS, variant
from masklet_build.hugging_face import to_official
from masklet_build.network import parameter_shapes
from masklet_build.torch_stages import TorchStages

pytest.importorskip("transformers")

from reference import transformers_models  # noqa: E402

pytestmark = pytest.mark.torch

SAM2 = []


@cache
def made(name: str) -> transformers_models.Pair:
    if name == "sam3":
        return transformers_models.pair(transformers_models.sam3_small(), transformers_models.sam3_model)
    return transformers_models.pair(variant(f"{name}@{transformers_models.SAM2_SIDE}"), transformers_models.sam2_model)


@pytest.fixture(params=["sam2.1_t", "sam2_t", "sam3"])
def pair(request) -> transformers_models.Pair:
    return made(request.param)


def shapes_only(model) -> dict[str, torch.Tensor]:
    """Its state dict as tensors that take no memory."""
    return {name: torch.zeros(()).expand(tensor.shape) for name, tensor in model.state_dict().items()}


def near(ours: np.ndarray, theirs: torch.Tensor) -> None:
    """Equal up to rounding, by the house's bar of stages."""
    expected = theirs.detach().numpy()
    assert ours.shape == expected.shape
    difference = np.abs(ours - expected).max()
    print("max difference", difference, "std", expected.std())
    assert difference <= max(1e-4 * expected.std(), 1e-5)


def noise(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape, dtype=np.float32)


@pytest.mark.parametrize("name", SAM2)
def test_a_model_of_transformers_has_the_official_names_and_shapes(name):
    with torch.device("meta"):
        model = transformers_models.sam2_model(variant(name))
    assert {name: tuple(tensor.shape) for name, tensor in to_official(shapes_only(model)).items()} == parameter_shapes(variant(name))


def test_image_encoders_agree(pair):
    model, stages, small = pair
    image = np.random.default_rng(1).integers(0, 256, (2, small.image_size, small.image_size, 3), dtype=np.uint8)
    pixels = (torch.tensor(image) / 255 - torch.tensor(small.family.pixel_mean)) / torch.tensor(small.family.pixel_std)
    features = model.get_image_features(pixels.permute(0, 3, 1, 2), return_dict=True).fpn_hidden_states
    ours = stages.call("image_encoder", {"IMAGE": image})
    for name, theirs in zip(("HIGH_RES_0", "HIGH_RES_1", "EMBEDDING"), features, strict=True):
        side = ours[name].shape[-1]
        near(ours[name], theirs.permute(1, 2, 0).unflatten(2, (side, side)))


def test_memory_attentions_agree(pair):
    model, stages, small = pair
    grid, tokens = small.grid, small.memory_tokens
    embedding, memory, pointers = noise(2, 1, 256, grid, grid), noise(3, 1, 3, tokens, 64), noise(4, 1, 2, 256)
    slots, distances = np.array([[6, 0, 3]], np.int32), np.array([[7.0, 2.0]], np.float32)
    position = model.vision_encoder.neck.position_encoding((1, 256, grid, grid), "cpu", torch.float32).flatten(2).permute(2, 0, 1)
    place = model.memory_encoder.position_encoding((1, 64, grid, grid), "cpu", torch.float32).flatten(2).permute(2, 0, 1)
    codes = [place + model.memory_temporal_positional_encoding[slot] for slot in slots[0]]
    tokens_of_pointers, code = model._process_object_pointers([7, 2], list(torch.tensor(pointers[0, :, None])), 16, 1, 256, "cpu")
    theirs = model.memory_attention(
        current_vision_features=torch.tensor(embedding).flatten(2).permute(2, 0, 1),
        current_vision_position_embeddings=position,
        memory=torch.cat((torch.tensor(memory[0]).flatten(0, 1)[:, None], tokens_of_pointers)),
        memory_posision_embeddings=torch.cat((*codes, code)),
        num_object_pointer_tokens=len(tokens_of_pointers),
    )
    given = {"EMBEDDING": embedding, "VIDEO": np.zeros(1, np.int32), "MEMORY": memory, "SLOT": slots, "POINTERS": pointers, "DISTANCE": distances}
    near(stages.call("memory_attention", given)["CONDITIONED"], theirs.squeeze(1).transpose(1, 2).reshape(1, 256, grid, grid))


@pytest.mark.parametrize("multimask", [True, False])
def test_mask_decoders_agree(pair, multimask):
    model, stages, small = pair
    grid = small.grid
    features, high_0, high_1 = noise(5, 1, 256, grid, grid), noise(6, 1, 32, 4 * grid, 4 * grid), noise(7, 1, 64, 2 * grid, 2 * grid)
    points, labels = np.array([[[40.0, 30.5], [200.0, 99.0]]], np.float32), np.array([[1, 0]], np.int32)
    theirs = model._single_frame_forward(
        image_embeddings=[torch.tensor(high_0), torch.tensor(high_1), torch.tensor(features)],
        input_points=torch.tensor(points)[:, None],
        input_labels=torch.tensor(labels)[:, None],
        multimask_output=multimask,
    )
    ours = stages.call("mask_decoder", {
        "FEATURES": features, "KIND": np.array([KIND_TRACKED], np.int32), "VIDEO": np.zeros(1, np.int32), "HIGH_RES_0": high_0, "HIGH_RES_1": high_1,
        "POINTS": np.pad(points, ((0, 0), (0, 1), (0, 0))), "LABELS": np.pad(labels, ((0, 0), (0, 1)), constant_values=-1),
        "MASK_PROMPT": np.zeros((1, 1, 4 * grid, 4 * grid), np.float32), "HAS_MASK": np.zeros(1, np.int32), "MULTIMASK": np.array([multimask], np.int32),
        "PRESENT": np.ones(1, np.int32),
    })  # fmt: skip
    near(ours["SCORE"], theirs.object_score_logits.reshape(1))
    near(ours["LOW"], theirs.pred_masks.reshape(1, 4 * grid, 4 * grid))
    near(ours["POINTER"], theirs.object_pointer.reshape(1, 256))
    near(ours["IOU"], theirs.iou_scores.max(dim=-1).values.reshape(1))


@pytest.mark.parametrize(("binarise", "score"), [(0, 3.0), (1, 3.0), (0, -3.0)])
def test_memory_encoders_agree(pair, binarise, score):
    model, stages, small = pair
    grid = small.grid
    embedding, low = noise(8, 1, 256, grid, grid), 4 * noise(9, 1, 4 * grid, 4 * grid)
    high = torch.nn.functional.interpolate(torch.tensor(low)[:, None], size=(small.mask_size, small.mask_size), mode="bilinear", align_corners=False)
    theirs, _ = model._encode_new_memory(torch.tensor(embedding).flatten(2).permute(2, 0, 1), high, torch.tensor([[score]]), bool(binarise))
    given = {"EMBEDDING": embedding, "VIDEO": np.zeros(1, np.int32), "LOW": low, "SCORE": np.array([score], np.float32), "BINARISE": np.array([binarise], np.int32)}
    ours = torch.tensor(stages.call("memory_encoder", given)["MEMORY"]).to(torch.bfloat16)
    steps = (ours.view(torch.int16).int() - theirs.permute(1, 0, 2).contiguous().view(torch.int16).int()).abs()
    assert steps.max() <= 1
    assert (steps > 0).float().mean() <= 1e-3

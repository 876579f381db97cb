"""The network that is trained computes what the served stages compute."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from masklet.contract import KIND_CLICK, KIND_MASK, KIND_TRACKED
from masklet.families import variant
from masklet_build.models.network import build_stages
from masklet_build.models.sam.layers import tokens_of
from train_nano.episode import _chosen
from train_nano.network import Memory, Prompt, Trainable, state
from train_nano.weights import fresh_model

pytestmark = pytest.mark.torch

NANO = variant("nano")
OBJECTS = 3


@pytest.fixture(scope="module")
def model() -> Trainable:
    made = fresh_model(NANO, seed=1).eval().requires_grad_(False)
    made.network.sam_mask_decoder.pred_obj_score_head.layers[-1].bias += 10  # else random weights hold every object for absent
    return made


@pytest.fixture(scope="module")
def stages(model):
    return build_stages(state(model), NANO)


@pytest.fixture(scope="module")
def images():
    return torch.from_numpy(np.random.default_rng(0).integers(0, 256, (2, 256, 256, 3), dtype=np.uint8))


@pytest.fixture(scope="module")
def embedding(stages, images):
    return stages["image_encoder"](images)[0]


def as_tokens(features):
    return tokens_of(features, NANO.grid, NANO.hidden)


def same(ours, theirs):
    torch.testing.assert_close(ours, theirs, atol=2e-5, rtol=1e-4)


VIDEO = torch.arange(2).repeat_interleave(OBJECTS).int()  # two clips of three objects


def test_embed_is_the_image_encoder(model, images, embedding):
    same(model.embed(images), as_tokens(embedding))


@pytest.mark.parametrize("frames", [1, 3])
def test_attend_is_the_memory_attention(model, stages, embedding, frames):
    memory = torch.randn(6, frames, NANO.memory_tokens, 64)
    pointers = torch.randn(6, frames + 1, NANO.hidden)
    slots = [6, 2, 0][:frames]
    theirs = stages["memory_attention"](embedding, VIDEO, memory, torch.tensor(slots, dtype=torch.int32).expand(6, -1), pointers)[0]
    memories = [Memory(memory[:, index], pointers[:, index]) for index in range(frames)]
    ours = model.attend(as_tokens(embedding), OBJECTS, memories, slots, list(pointers.unbind(1)))
    same(ours, as_tokens(theirs))


@pytest.mark.parametrize(
    ("kind", "labels", "with_logits"), [(KIND_CLICK, [1], False), (KIND_CLICK, [2, 3], False), (KIND_TRACKED, [], False), (KIND_TRACKED, [0], True)]
)
def test_decode_and_choice_are_the_mask_decoder(model, stages, embedding, kind, labels, with_logits):
    features = embedding.index_select(0, VIDEO)
    points = 256 * torch.rand(6, len(labels), 2)
    tags = torch.tensor(labels, dtype=torch.long).expand(6, -1)
    logits = 5 * torch.randn(6, 1, NANO.low_size, NANO.low_size)
    padding = 1 if labels else 2
    single = len(labels) > 1
    low, iou, score, pointer = stages["mask_decoder"](
        features,
        torch.full((6,), kind, dtype=torch.int32),
        torch.cat((points, torch.zeros(6, padding, 2)), dim=1),
        torch.cat((tags, torch.full((6, padding), -1)), dim=1).int(),
        logits,
        torch.full((6,), int(with_logits), dtype=torch.int32),
        torch.full((6,), int(not single), dtype=torch.int32),
        torch.ones(6, dtype=torch.int32),
    )
    decoded = model.decode(as_tokens(features), Prompt(points, tags, logits if with_logits else None), memoryless=kind == KIND_CLICK)
    same(decoded.score, score)
    mask, token = _chosen(decoded, single=single)
    present = score > 0
    assert present.all()
    same(model.pointer(token, present), pointer)
    if not single:  # the single mask may be replaced for want of stability, which training does not do
        same(mask[present], low[present])
        same(decoded.iou[:, 1:].amax(dim=1), iou)


def test_a_mask_prompt_is_as_served(model, stages, embedding):
    masks = torch.zeros(6, 256, 256, dtype=torch.uint8)
    masks[:, 40:90, 60:130] = 1
    prompt, _low, present = stages["mask_prompt"](masks)
    features = embedding.index_select(0, VIDEO)
    kinds, none, ones = torch.full((6,), KIND_MASK, dtype=torch.int32), torch.zeros(6, dtype=torch.int32), torch.ones(6, dtype=torch.int32)
    theirs = stages["mask_decoder"](features, kinds, torch.zeros(6, 2, 2), torch.full((6, 2), -1, dtype=torch.int32), prompt, ones, none, present)[3]
    ours = model.network.mask_downsample(masks[:, None].float())
    same(ours, prompt)
    decoded = model.decode(as_tokens(features), Prompt(torch.zeros(6, 0, 2), torch.zeros(6, 0, dtype=torch.long), ours), memoryless=False)
    same(model.pointer(decoded.tokens[:, 0], decoded.score > 0), theirs)


@pytest.mark.parametrize("binarise", [False, True])
def test_encode_is_the_memory_encoder(model, stages, embedding, binarise):
    low = 8 * torch.randn(6, NANO.low_size, NANO.low_size)
    theirs = stages["memory_encoder"](embedding, VIDEO, low, torch.full((6,), int(binarise), dtype=torch.int32))[0]
    same(model.encode(as_tokens(embedding), OBJECTS, low, binarise=binarise), theirs)


def test_a_smaller_image_goes_through_every_method(model, images):
    small = images[:, :128, :128]
    image = model.embed(small)
    assert image.shape == (2, 64, NANO.hidden)
    memory = model.encode(image, OBJECTS, torch.randn(6, 32, 32), binarise=False)
    features = model.attend(image, OBJECTS, [Memory(memory, torch.randn(6, NANO.hidden))], [6], [torch.randn(6, NANO.hidden)])
    assert model.decode(features, None, memoryless=False).logits.shape == (6, 4, 32, 32)


def test_official_variants_are_refused():
    with pytest.raises(ValueError, match="cannot be trained here"):
        Trainable(variant("efficienttam_ti_512"))

"""The plain PyTorch run that speed is compared with computes what the product's stages compute."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from torch.nn import functional

from benchmarks.baseline.eager import Eager
from benchmarks.baseline.plain import EagerVideo
from masklet.contract import KIND_CLICK, KIND_TRACKED
from masklet.families import NANO
from masklet_build import nano
from masklet_build.checkpoints.loading import load_checkpoint
from masklet_build.checkpoints.random_weights import random_checkpoint
from masklet_build.models.samples import Sizes, sample_inputs
from masklet_build.models.stages import TorchStages
from masklet_build.models.variants import scaled_down, variant

pytestmark = pytest.mark.torch

SIZE = 96  # pixels
BAR = 1e-3  # logits deviate by 6, features by 1


@torch.inference_mode()
def differences(model: Eager, reference: TorchStages, frames: int, pointers: int, seed: int) -> dict[str, float]:
    """The largest absolute difference of each stage's outputs, by the stage's name.

    frames, pointers: how much is remembered. Memories are compared before they are rounded.
    """
    variant = model.variant
    samples = {name: sample_inputs(name, variant, Sizes(F=frames, P=pointers), seed) for name in reference.models}
    image = samples["image_encoder"]["IMAGE"]
    embedding = reference.call("image_encoder", {"IMAGE": image})["EMBEDDING"]
    return {
        "image_encoder": _largest(model.embed(model.normalised(image[0])), embedding),
        "memory_attention": _attention(model, reference, {**samples["memory_attention"], "EMBEDDING": embedding}),
        "mask_decoder": max(_decoder(model, reference, embedding, clicked) for clicked in (False, True)),
        "memory_encoder": max(_encoder(model, reference, embedding, samples["memory_encoder"]["LOW"], prompted) for prompted in (False, True)),
    }


def _attention(model: Eager, reference: TorchStages, inputs: dict[str, np.ndarray]) -> float:
    memories = list(torch.from_numpy(inputs["MEMORY"][0]))
    pointers = [torch.from_numpy(row)[None] for row in inputs["POINTERS"][0]]
    got = model.attend(torch.from_numpy(inputs["EMBEDDING"]), memories, inputs["SLOT"][0].tolist(), pointers)
    return _largest(got, reference.call("memory_attention", inputs)["CONDITIONED"])


def _decoder(model: Eager, reference: TorchStages, embedding: np.ndarray, clicked: bool) -> float:
    low = model.variant.low_size
    point = np.array([[0.3, 0.6]], np.float32) * model.variant.image_size
    ones, zeros = np.ones(1, np.int32), np.zeros(1, np.int32)
    inputs = {
        "FEATURES": embedding,
        "KIND": np.array([KIND_CLICK if clicked else KIND_TRACKED], np.int32),
        "POINTS": np.concatenate((point if clicked else 0 * point, 0 * point))[None],
        "LABELS": np.array([[1 if clicked else -1, -1]], np.int32),
        "MASK_PROMPT": np.zeros((1, 1, low, low), np.float32),
        "HAS_MASK": zeros,
        "MULTIMASK": ones,
        "PRESENT": ones,
    }
    wanted = reference.call("mask_decoder", inputs)
    features = torch.from_numpy(embedding) + (model.network.no_mem_embed.reshape(1, -1, 1, 1) if clicked else 0)
    got = model.decode(features, torch.from_numpy(point[0]) if clicked else None)
    pairs = ((got.low[:, 0], "LOW"), (got.score[:, 0], "SCORE"), (got.pointer, "POINTER"))
    return max(_largest(tensor, wanted[name]) for tensor, name in pairs)


def _encoder(model: Eager, reference: TorchStages, embedding: np.ndarray, low: np.ndarray, prompted: bool) -> float:
    high = functional.interpolate(torch.from_numpy(low)[:, None], scale_factor=4.0, mode="bilinear", align_corners=False)
    inputs = {"EMBEDDING": embedding, "VIDEO": np.zeros(1, np.int32), "LOW": low, "BINARISE": np.array([prompted], np.int32)}
    wanted = reference.call("memory_encoder", inputs)["MEMORY"]
    return _largest(model.memory(torch.from_numpy(embedding), high, prompted)[None], wanted)


def _largest(got: torch.Tensor, wanted: np.ndarray) -> float:
    assert got.shape == wanted.shape, f"{tuple(got.shape)} beside {wanted.shape}"
    return float((got - torch.from_numpy(wanted)).abs().max())


@pytest.fixture(scope="module", params=["efficienttam_ti_512", "nano"])
def small(request: pytest.FixtureRequest) -> Iterator[tuple[Eager, TorchStages]]:
    """An official network scaled down, of random weights; and nano, whose stem and widths are others, as it is."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # more gain nothing at this size, and wait for each other for long where the machine is busy
    chosen = NANO if request.param == "nano" else scaled_down(variant(request.param), SIZE)
    state = load_checkpoint(nano.CHECKPOINT, NANO) if chosen is NANO else random_checkpoint(chosen, seed=4)
    yield Eager(state, chosen), TorchStages(state, chosen)
    torch.set_num_threads(threads)


@pytest.mark.parametrize("frames", [1, 3, 7])
def test_every_stage_equals_the_products(small: tuple[Eager, TorchStages], frames: int) -> None:
    found = differences(*small, frames=frames, pointers=2 * frames, seed=frames)
    assert max(found.values()) < BAR, found


def test_a_wrong_weight_is_seen(small: tuple[Eager, TorchStages]) -> None:
    """The check above would notice: every stage has one weight changed, and stands on the reference's inputs, not on the other stages."""
    model, reference = small
    changed = (
        "image_encoder.trunk.blocks.1.attn.qkv.bias",
        "maskmem_tpos_enc",
        "sam_mask_decoder.iou_token.weight",
        "memory_encoder.fuser.layers.0.gamma",
    )
    state = {name: 1.2 * value if name in changed else value for name, value in model.network.state_dict().items()}
    found = differences(Eager(state, model.variant), reference, frames=7, pointers=4, seed=1)
    assert min(found.values()) > BAR, found


def test_memory_is_bounded_and_masks_have_the_size_of_the_video(small: tuple[Eager, TorchStages]) -> None:
    model, _ = small
    video = EagerVideo(model, 40, 60)
    side = model.variant.image_size
    images = np.random.default_rng(0).integers(0, 256, (19, side, side, 3), dtype=np.uint8)
    video.click(images[0], [(30.0, 40.0), (80.0, 60.0)])
    for image in images[1:]:
        masks = video.track(model.normalised(image))
    assert (tuple(masks.shape), masks.dtype) == ((2, 40, 60), torch.bool)
    assert [(len(known.memories), len(known.pointers)) for known in video.objects] == [(6, 15), (6, 15)]
    twin = video.copy(model)
    assert torch.equal(twin.track(model.normalised(images[0])), video.track(model.normalised(images[0])))
    assert [(len(known.memories), len(known.pointers)) for known in twin.objects] == [(6, 15), (6, 15)]

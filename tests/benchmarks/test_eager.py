"""The plain PyTorch run that speed is compared with computes what the product's stages compute."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch

from eager import Eager, EagerVideo
from masklet.families import NANO
from masklet_build import nano
from masklet_build.checkpoints import load_checkpoint
from masklet_build.models.variants import scaled_down, variant
from masklet_build.random_weights import random_checkpoint
from masklet_build.torch_stages import TorchStages
from stagewise import differences

pytestmark = pytest.mark.torch

SIZE = 96  # pixels
BAR = 1e-3  # logits deviate by 6, features by 1


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
    twin = video.copy(3)
    assert torch.equal(twin.track(model.normalised(images[0])), video.track(model.normalised(images[0]))[:1].expand(3, -1, -1))

"""With overlap "exclusive" no two objects of an answer have a pixel in common, by the official rule; else nothing is changed."""

from __future__ import annotations

import numpy as np
import pytest

from masklet.envelope import Envelope
from masklet.mask_bytes import separated
from masklet.wire import MASK_FORMS, Options
from masklet_postprocess.exclusive import exclusive_masks
from masklet_postprocess.request import finish
from masklet_postprocess.upsample import axis, mask_at
from tests.postprocess.drawn import blobs, on_frame
from tests.postprocess.test_forms import SIZE, decode

SIZES = [(90, 160), (361, 643), (128, 128), (40, 30), (1, 1), (1, 300), (37, 1)]  # height, width; over, at and below the logits'


def crowd(count: int, side: int = 64) -> np.ndarray:
    """Overlapping objects, some of them far from others, one absent, and two whose logits are equal."""
    low = np.stack([blobs(seed, side) for seed in range(count)])
    low[count // 2] = -1024
    low[-1] = low[0]
    return low


def claims(low: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Logits (n, H, W) float32 at the size of the frame by the formula of test_upsample, all of them, in the order of its operations."""
    down, across = axis(low.shape[1], size[0]), axis(low.shape[2], size[1])
    one = np.float32(1)
    wide = low[:, :, across.below] * (one - across.weight) + low[:, :, across.above] * across.weight
    return wide[:, down.below] * (one - down.weight)[:, None] + wide[:, down.above] * down.weight[:, None]


def official(logits: np.ndarray) -> np.ndarray:
    """The rule pixel by pixel: the highest logit keeps the pixel, the first of equals; the others fall to at most -10."""
    kept = logits.copy()
    for y in range(logits.shape[1]):
        for x in range(logits.shape[2]):
            column = logits[:, y, x].tolist()
            winner = column.index(max(column))
            kept[:, y, x] = [value if n == winner else min(value, -10.0) for n, value in enumerate(column)]
    return kept


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("count", [2, 3, 7])
def test_the_masks_are_those_of_the_official_rule(size, count):
    low = crowd(count)
    expected = official(claims(low, size)) > 0
    made = np.stack([on_frame(placed, size) for placed in exclusive_masks(low, size)])
    np.testing.assert_array_equal(made, expected)


@pytest.mark.torch
def test_the_rule_is_what_the_official_lines_compute():
    """The lines themselves (sam2_base.py:901-909), in torch, over the logits that the masks are made of."""
    torch = pytest.importorskip("torch")
    low, size = crowd(5), (90, 160)
    masks = torch.from_numpy(claims(low, size))[:, None]
    keep = torch.argmax(masks, dim=0, keepdim=True) == torch.arange(len(masks))[:, None, None, None]
    constrained = torch.where(keep, masks, torch.clamp(masks, max=-10.0))[:, 0].numpy()
    made = np.stack([on_frame(placed, size) for placed in exclusive_masks(low, size)])
    np.testing.assert_array_equal(made, constrained > 0)


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_every_pixel_that_somebody_claims_has_one_owner_and_no_other_has_one(size):
    low = crowd(6)
    claimed = np.stack([on_frame(mask_at(logits, size), size) for logits in low])
    owned = np.stack([on_frame(placed, size) for placed in exclusive_masks(low, size)])
    np.testing.assert_array_equal(owned.sum(axis=0), claimed.any(axis=0))
    assert not (owned & ~claimed).any()


def answer(low: np.ndarray, size: tuple[int, int], **options) -> dict[str, np.ndarray]:
    return finish(low, Envelope("abc", 5, size=size, options=Options(**options), objects=len(low)))


@pytest.mark.parametrize("form", ["rle", "bitmap", "png"])
def test_boxes_and_every_form_say_the_same_masks(form):
    low, size = crowd(5), SIZE
    made = answer(low, size, masks=form, overlap="exclusive")
    owned = np.stack([on_frame(placed, size) for placed in exclusive_masks(low, size)])
    for data, box, mask in zip(separated(made), made["BOXES"], owned, strict=True):
        np.testing.assert_array_equal(decode(data.tobytes(), form), mask)
        rows, columns = np.nonzero(mask)
        assert tuple(box) == ((columns.min(), rows.min(), columns.max() + 1, rows.max() + 1) if mask.any() else (0, 0, 0, 0))
    np.testing.assert_array_equal(answer(low, size, masks="none", overlap="exclusive")["BOXES"], made["BOXES"])


@pytest.mark.parametrize("form", MASK_FORMS)
def test_one_object_and_objects_that_are_apart_are_as_without_it(form):
    apart = np.full((2, 32, 32), -3, np.float32)
    apart[0, 2:9, 2:9] = apart[1, 20:30, 3:30] = 3
    for low in (crowd(3)[:1], apart, crowd(3)[:0]):
        size = (90, 160) if len(low) else (0, 0)
        allowed, exclusive = (answer(low, size, masks=form, overlap=overlap, logits=True) for overlap in ("allowed", "exclusive"))
        assert {name: array.tobytes() for name, array in allowed.items()} == {name: array.tobytes() for name, array in exclusive.items()}


def test_logits_are_those_of_the_network_and_are_not_written_to():
    low = crowd(4)
    before = low.copy()
    made = answer(low, (90, 160), overlap="exclusive", logits=True)
    np.testing.assert_array_equal(made["LOGITS"], before)
    np.testing.assert_array_equal(low, before)


def test_more_objects_than_a_byte_counts_have_owners_too():
    low = np.full((300, 16, 16), -3, np.float32)
    low[np.arange(300), np.arange(300) // 16 % 16, np.arange(300) % 16] = 3
    owned = np.stack([on_frame(placed, (16, 16)) for placed in exclusive_masks(low, (16, 16))])
    expected = np.zeros((300, 16, 16), bool)
    for n in range(256):  # those after the 256th claim pixels that have a first owner
        expected[n, n // 16, n % 16] = True
    np.testing.assert_array_equal(owned, expected)

"""A pixel that several objects claim goes to the one that is surest of it."""

from __future__ import annotations

import numpy as np
import pytest

from masklet_build.quality.overlap import without_overlap


def test_masks_without_overlap_stay_as_they_are() -> None:
    masks = np.zeros((2, 4, 6), np.bool_)
    masks[0, :2], masks[1, 2:] = True, True
    assert np.array_equal(without_overlap(masks, np.zeros((2, 2, 3), np.float32)), masks)


def test_each_contested_pixel_goes_to_the_highest_logit_read_between_low_resolution_pixels() -> None:
    """The two logits cross in the middle between the two low-resolution columns: at frame columns 3 and 4 of 8."""
    masks = np.ones((2, 2, 8), np.bool_)
    logits = np.array([[[9, 1]], [[1, 9]]], np.float32)
    made = without_overlap(masks, logits)
    assert made[0].tolist() == [[True] * 4 + [False] * 4] * 2
    assert np.array_equal(made[1], ~made[0])


def test_an_object_that_does_not_claim_a_pixel_never_gets_it() -> None:
    masks = np.array([[[True]], [[True]], [[False]]])
    logits = np.array([1, 2, 3], np.float32).reshape(3, 1, 1)
    assert without_overlap(masks, logits).ravel().tolist() == [False, True, False]


@pytest.mark.torch
def test_it_is_what_the_highest_of_the_resized_logits_gives() -> None:
    """As the official program does it: resize all logits to the frame, keep the highest, and threshold at 0."""
    torch = pytest.importorskip("torch")
    low = torch.from_numpy(np.random.default_rng(0).normal(0.3, 1, (4, 8, 8)).astype(np.float32))
    full = torch.nn.functional.interpolate(low[None], (37, 61), mode="bilinear", align_corners=False)[0]
    wanted = (full > 0) & (full.argmax(dim=0) == torch.arange(4)[:, None, None])
    masks = (full > 0).numpy()
    assert masks.sum(axis=0).max() > 2
    assert np.array_equal(without_overlap(masks, low.numpy()), wanted.numpy())

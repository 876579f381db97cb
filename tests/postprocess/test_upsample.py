"""Masks at frame size are those of the official predictor."""

from __future__ import annotations

import numpy as np
import pytest

from masklet_postprocess.forms import box
from masklet_postprocess.upsample import axis, mask_at
from tests.postprocess.drawn import blobs, on_frame

SIZES = [(720, 1280), (480, 854), (1080, 1920), (361, 643), (128, 128), (100, 40), (64, 500), (1, 1), (1, 300), (37, 1)]  # height, width


def small(side: int = 128) -> np.ndarray:
    """One small object near a corner."""
    low = np.full((side, side), -5, dtype=np.float32)
    low[5:12, 0:9] = 3
    return low


LOGITS = {"blobs": blobs(1), "one object": small(), "all": np.ones((128, 128), np.float32), "noise at 256": blobs(2, 256)}


def full(low: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """The mask of the whole frame."""
    return on_frame(mask_at(low, size), size)


@pytest.mark.torch
@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("name", LOGITS)
def test_a_mask_is_that_of_torch_but_for_logits_that_are_zero_within_rounding(name, size):
    torch = pytest.importorskip("torch")
    low = LOGITS[name]
    logits = torch.nn.functional.interpolate(torch.from_numpy(low)[None, None], size=size, mode="bilinear", align_corners=False)[0, 0].numpy()
    different = full(low, size) != (logits > 0)
    assert np.abs(logits[different]).max(initial=0) < 4 * np.finfo(np.float32).eps * np.abs(low).max()


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("name", LOGITS)
def test_a_mask_is_the_thresholded_bilinear_interpolation(name, size):
    """Against the plain formula in float64, everywhere: nothing is lost by looking only near the object."""
    low = LOGITS[name]
    weights = [_matrix(low.shape[0], side) for side in size]
    logits = weights[0] @ low.astype(np.float64) @ weights[1].T
    different = full(low, size) != (logits > 0)
    assert np.abs(logits[different]).max(initial=0) < 1e-4  # float32 positions: up to 1000 pixels with 24 bits, times the slope


def _matrix(size_in: int, size_out: int) -> np.ndarray:
    """Bilinear interpolation with half-pixel centres as a matrix: row i has the weights of output i."""
    position = np.clip((np.arange(size_out) + 0.5) * size_in / size_out - 0.5, 0, size_in - 1)
    return np.maximum(0, 1 - np.abs(position[:, None] - np.arange(size_in)))


@pytest.mark.parametrize("value", [-1024, -1e-30, 0])
def test_an_object_without_a_positive_logit_is_no_work(value):
    placed = mask_at(np.full((128, 128), value, dtype=np.float32), (720, 1280))
    assert placed.mask.size == 0
    assert box(placed) == (0, 0, 0, 0)


def test_only_the_neighbourhood_of_the_object_is_computed():
    low = np.full((128, 128), -5, dtype=np.float32)
    low[40:50, 60:80] = 5
    placed = mask_at(low, (1280, 1280))
    assert placed.mask.shape[0] <= 10 * (10 + 2)
    assert placed.mask.shape[1] <= 10 * (20 + 2)


def test_the_weights_of_a_fourfold_enlargement():
    along = axis(4, 16)
    np.testing.assert_array_equal(along.weight[:7], np.float32([0, 0, 0.125, 0.375, 0.625, 0.875, 0.125]))
    np.testing.assert_array_equal(along.below[:7], [0, 0, 0, 0, 0, 0, 1])
    assert along.above.max() == 3

"""Mask prompts are resized as the official predictor resizes them."""

from __future__ import annotations

import numpy as np
import pytest

from masklet_preprocess.resample import resize_mask, taps

SIZES = [  # height, width, side of the model image
    (720, 1280, 512),
    (480, 854, 512),
    (1080, 1920, 1024),
    (640, 360, 512),
    (721, 1283, 512),
    (513, 511, 512),
    (1024, 1024, 512),
    (256, 2048, 512),
    (333, 777, 1024),
    (64, 64, 512),
    (3, 5, 64),
    (1, 1, 64),
    (1, 700, 64),
]


def masks(height: int, width: int) -> dict[str, np.ndarray]:
    """Noise, an ellipse and a rectangle: the last has edges whose resized value is one half but for rounding."""
    y, x = np.mgrid[:height, :width]
    rectangle = np.zeros((height, width), dtype=bool)
    rectangle[height // 4 : height // 2 + 1, width // 3 : width * 3 // 4 + 1] = True
    return {
        "noise": np.random.default_rng(height + width).random((height, width)) < 0.5,
        "ellipse": ((y - height * 0.4) / (height * 0.3)) ** 2 + ((x - width * 0.6) / (width * 0.2)) ** 2 < 1,
        "rectangle": rectangle,
        "empty": np.zeros((height, width), dtype=bool),
        "full": np.ones((height, width), dtype=bool),
    }


@pytest.mark.torch
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_every_pixel_equals_that_of_torch(size):
    torch = pytest.importorskip("torch")
    height, width, side = size
    for name, mask in masks(height, width).items():
        image = torch.from_numpy(mask)[None, None].float()
        expected = torch.nn.functional.interpolate(image, size=(side, side), mode="bilinear", antialias=True, align_corners=False) >= 0.5
        np.testing.assert_array_equal(resize_mask(mask, side), expected[0, 0].numpy(), err_msg=name)


def test_a_fourfold_shrink_has_the_triangle_weights():
    filter_taps = taps(512, 128)
    np.testing.assert_array_equal(filter_taps.weights[60, :8] * 32, [1, 3, 5, 7, 7, 5, 3, 1])
    assert filter_taps.first[60] == 60 * 4 - 2


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_full_stays_full_and_empty_stays_empty(size):
    height, width, side = size
    assert resize_mask(np.ones((height, width), dtype=bool), side).all()
    assert not resize_mask(np.zeros((height, width), dtype=bool), side).any()


def test_a_mask_of_model_size_is_left_alone():
    mask = np.random.default_rng(0).random((64, 64)) < 0.5
    np.testing.assert_array_equal(resize_mask(mask, 64), mask)

"""A mask reads back from every form as it was, and its box holds it exactly."""

from __future__ import annotations

import io
import json

import numpy as np
import pytest
from PIL import Image

from masklet import rle
from masklet.wire import MASK_FORMS
from masklet_postprocess.forms import box, encode
from masklet_postprocess.upsample import Placed

SIZE = (45, 71)


def decode(data: bytes, form: str) -> np.ndarray:
    if form == "rle":
        return rle.decode(json.loads(data))
    if form == "bitmap":
        bits = np.unpackbits(np.frombuffer(data, np.uint8))
        return bits[: SIZE[0] * SIZE[1]].reshape(SIZE).astype(bool)
    image = Image.open(io.BytesIO(data))
    assert (image.format, image.mode) == ("PNG", "L")
    assert set(np.unique(np.asarray(image))) <= {0, 255}
    return np.asarray(image) == 255


PLACED = {
    "inside": Placed(7, 11, np.random.default_rng(0).random((20, 30)) < 0.5),
    "whole frame": Placed(0, 0, np.ones(SIZE, bool)),
    "bottom right pixel": Placed(44, 70, np.ones((1, 1), bool)),
    "empty": Placed(0, 0, np.zeros((0, 0), bool)),
    "searched in vain": Placed(3, 4, np.zeros((5, 6), bool)),
}


@pytest.mark.parametrize("form", [form for form in MASK_FORMS if form != "none"])
@pytest.mark.parametrize("name", PLACED)
def test_a_mask_reads_back(name, form):
    placed = PLACED[name]
    expected = np.zeros(SIZE, bool)
    height, width = placed.mask.shape
    expected[placed.top : placed.top + height, placed.left : placed.left + width] = placed.mask
    np.testing.assert_array_equal(decode(encode(placed, SIZE, form), form), expected)


def test_form_none_is_empty():
    assert encode(PLACED["whole frame"], SIZE, "none") == b""


def test_a_box_ends_behind_the_last_pixel():
    mask = np.zeros((10, 12), bool)
    mask[2, 3] = mask[6, 8] = True
    assert box(Placed(100, 200, mask)) == (203, 102, 209, 107)
    assert box(PLACED["whole frame"]) == (0, 0, 71, 45)
    assert box(PLACED["bottom right pixel"]) == (70, 44, 71, 45)
    assert box(PLACED["searched in vain"]) == (0, 0, 0, 0)

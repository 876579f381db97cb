"""Soft mask prompts, those of SAM 3: grey borders at mask size, and logits made from the mask as it was given."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from masklet import rle
from masklet.families import variant
from masklet_preprocess.masks import mask_tensors
from masklet_preprocess.prompts import parse

SAM3 = variant("sam3")
SIZES = [(720, 1280), (270, 480), (95, 97), (1152, 1152), (288, 288), (40, 700)]


def drawn(size: tuple[int, int]) -> dict[str, np.ndarray]:
    height, width = size
    y, x = np.mgrid[:height, :width]
    rectangle = np.zeros(size, dtype=bool)
    rectangle[height // 4 : height // 2 + 1, width // 3 : width * 3 // 4 + 1] = True
    return {
        "ellipse": ((y - height * 0.4) / (height * 0.3)) ** 2 + ((x - width * 0.6) / (width * 0.2)) ** 2 < 1,
        "rectangle": rectangle,
        "noise": np.random.default_rng(height).random(size) < 0.5,
        "empty": np.zeros(size, dtype=bool),
    }


def packed(limits, mask: np.ndarray) -> dict[str, np.ndarray]:
    data = json.dumps([{"object": 1, "mask": rle.encode(mask)}]).encode()
    given = parse(data, mask.shape, replace(limits, max_prompt_bytes=1 << 20, max_mask_pixels=1 << 21), SAM3.image_size)
    return mask_tensors(given.masks, mask.shape, SAM3)


@pytest.mark.torch
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_mask_and_logits_are_those_of_torch(limits, size):
    torch = pytest.importorskip("torch")
    for name, mask in drawn(size).items():
        tensors = packed(limits, mask)
        image = torch.from_numpy(mask)[None, None]
        for found, source, side in (
            (tensors["PROMPT_MASKS"][0], image.float(), 1152),
            (tensors["PROMPT_LOW"][0], torch.where(image, 1024.0, -1024.0), 288),
        ):
            expected = torch.nn.functional.interpolate(source, size=(side, side), mode="bilinear", antialias=True, align_corners=False)[0, 0].numpy()
            assert found.dtype == np.float32
            rounding = float(source.abs().max()) * 2**-21  # of a dozen additions; for some sizes their order is not quite ours in torch
            np.testing.assert_allclose(found, expected, rtol=0, atol=rounding, err_msg=name)


def test_the_border_of_a_mask_is_grey_where_its_size_changes(limits):
    assert set(np.unique(packed(limits, drawn((1152, 1152))["ellipse"])["PROMPT_MASKS"])) == {0, 1}
    assert len(np.unique(packed(limits, drawn((270, 480))["ellipse"])["PROMPT_MASKS"])) > 2


def test_without_mask_prompts_both_tensors_are_there_and_empty(limits):
    tensors = mask_tensors({}, (40, 40), SAM3)
    assert (tensors["PROMPT_MASKS"].shape, tensors["PROMPT_MASKS"].dtype) == ((0, 1152, 1152), np.float32)
    assert (tensors["PROMPT_LOW"].shape, tensors["PROMPT_LOW"].dtype) == ((0, 288, 288), np.float32)

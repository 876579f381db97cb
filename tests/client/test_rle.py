"""Run lengths: the same bytes as pycocotools, and nothing lost."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from pycocotools import mask as coco

from masklet import rle

RANDOM = np.random.default_rng(20)


def masks() -> list:
    one = np.zeros((9, 7), dtype=np.bool_)
    one[3, 5] = True
    corner = np.zeros((4, 6), dtype=np.bool_)
    corner[-1, -1] = True
    yy, xx = np.mgrid[:480, :854]
    return [
        pytest.param(np.zeros((5, 3), dtype=np.bool_), id="empty"),
        pytest.param(np.ones((5, 3), dtype=np.bool_), id="full"),
        pytest.param(np.ones((1, 1), dtype=np.bool_), id="one_by_one"),
        pytest.param(one, id="one_pixel"),
        pytest.param(corner, id="last_pixel"),
        pytest.param((xx - 400) ** 2 + (yy - 200) ** 2 < 150**2, id="disc"),
        pytest.param(RANDOM.random((61, 40)) < 0.5, id="noise"),
        pytest.param(RANDOM.random((1, 50)) < 0.5, id="one_row"),
        pytest.param(RANDOM.random((50, 1)) < 0.5, id="one_column"),
        pytest.param((RANDOM.random((60, 90)) < 0.3).T, id="column_major"),
        pytest.param((RANDOM.random((60, 90)) < 0.3)[::2, ::-3], id="strided"),
        pytest.param(np.arange(1080 * 1920).reshape(1080, 1920) == 1_900_000, id="long_runs"),
    ]


@pytest.mark.parametrize("mask", masks())
def test_encodes_the_bytes_of_pycocotools(mask):
    reference = coco.encode(np.asfortranarray(mask, dtype=np.uint8))
    assert rle.encode(mask) == {"size": reference["size"], "counts": reference["counts"].decode()}


@pytest.mark.parametrize("mask", masks())
def test_decodes_what_pycocotools_encodes(mask):
    decoded = rle.decode(coco.encode(np.asfortranarray(mask, dtype=np.uint8)))
    assert decoded.dtype == np.bool_
    assert decoded.flags.c_contiguous
    np.testing.assert_array_equal(decoded, mask)


def test_random_small_masks_agree_with_pycocotools():
    for _ in range(500):
        mask = RANDOM.random(RANDOM.integers(1, 20, 2)) < RANDOM.random()
        made = rle.encode(mask)
        assert made["counts"].encode() == coco.encode(np.asfortranarray(mask, dtype=np.uint8))["counts"]
        np.testing.assert_array_equal(rle.decode(made), mask)


def test_a_part_of_a_mask_makes_the_bytes_of_the_whole():
    for _ in range(2000):
        size = height, width = [int(side) for side in RANDOM.integers(1, 12, 2)]
        top, left = int(RANDOM.integers(0, height)), int(RANDOM.integers(0, width))
        part = RANDOM.random((RANDOM.integers(1, height - top + 1), RANDOM.integers(1, width - left + 1))) < RANDOM.random()
        whole = np.zeros(size, dtype=np.bool_)
        whole[top : top + part.shape[0], left : left + part.shape[1]] = part
        assert rle.encode(part, at=(top, left), size=size) == rle.encode(whole)


@pytest.mark.parametrize("at", [(-1, 0), (0, -1), (3, 0), (0, 4)])
def test_a_part_that_does_not_lie_inside_is_refused(at):
    with pytest.raises(ValueError, match="does not lie inside 5 x 6"):
        rle.encode(np.ones((3, 3), dtype=np.bool_), at=at, size=(5, 6))


GOOD = rle.encode(np.eye(4, dtype=np.bool_))


@pytest.mark.parametrize(
    ("bad", "says"),
    [
        pytest.param("text", "keys", id="no_object"),
        pytest.param({"size": [4, 4]}, "keys", id="counts_missing"),
        pytest.param({**GOOD, "more": 1}, "keys", id="unknown_key"),
        pytest.param({**GOOD, "size": [4]}, "size", id="size_of_one"),
        pytest.param({**GOOD, "size": [4.0, 4]}, "size", id="size_float"),
        pytest.param({**GOOD, "size": [True, 16]}, "size", id="size_bool"),
        pytest.param({**GOOD, "size": [0, 4]}, "size", id="size_zero"),
        pytest.param({**GOOD, "size": [10**9, 10**9]}, "size", id="size_huge"),
        pytest.param({**GOOD, "size": [4, 5]}, "16 pixels, but its size 4 x 5 has 20", id="too_few_pixels"),
        pytest.param({**GOOD, "counts": [1, 2]}, "make 3 pixels", id="list_too_short"),
        pytest.param({**GOOD, "counts": [8, 8.0]}, "must be an integer", id="list_of_floats"),
        pytest.param({**GOOD, "counts": [-1, 17]}, "at least 0", id="list_with_a_negative_run"),
        pytest.param({**GOOD, "counts": {}}, "compressed", id="counts_of_another_type"),
        pytest.param({**GOOD, "counts": ""}, "damaged", id="counts_empty"),
        pytest.param({**GOOD, "counts": "é"}, "damaged", id="counts_not_ascii"),
        pytest.param({**GOOD, "counts": "P"}, "damaged", id="number_without_end"),
        pytest.param({**GOOD, "counts": "o" * 40 + "0"}, "too large", id="number_too_long"),
        pytest.param({"size": [4, 4], "counts": "O`0a0"}, "negative", id="negative_run"),
    ],
)
def test_damaged_run_lengths_are_refused_with_a_reason(bad, says):
    with pytest.raises(ValueError, match=says):
        rle.decode(bad)


def test_another_size_than_needed_is_refused_before_memory_is_taken():
    four_gigapixels = {"size": [65535, 65535], "counts": rle._to_text(np.array([65535**2]))}
    tracemalloc.start()
    with pytest.raises(ValueError, match=r"the mask is 65535 x 65535 .* but 4 x 5 is needed"):
        rle.decode(four_gigapixels, size=(4, 5))
    assert tracemalloc.get_traced_memory()[1] < 1e6
    tracemalloc.stop()


@pytest.mark.parametrize("bad", [np.zeros((2, 2), np.uint8), np.zeros(4, np.bool_), np.zeros((0, 3), np.bool_)], ids=["uint8", "flat", "no_pixels"])
def test_only_masks_are_encoded(bad):
    with pytest.raises(ValueError, match="bool array"):
        rle.encode(bad)

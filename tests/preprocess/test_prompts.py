"""What a client may ask of an object, and how the answer says what is wrong."""

from __future__ import annotations

import json

import numpy as np
import pytest

from masklet import rle
from masklet.envelope import Prompt
from masklet.errors import BadPrompt, TooManyPoints
from masklet_build.models.variants import variant
from masklet_preprocess.masks import mask_tensors
from masklet_preprocess.prompts import parse, scale_points

SIZE = (100, 200)  # height, width of the frame
SIDE = 64
SMALL = variant(f"efficienttam_ti_512@{SIDE}")
CLICK = {"object": 1, "points": [[10, 20]], "labels": [1]}
MASK = np.zeros(SIZE, dtype=bool)
MASK[20:60, 50:150] = True
RLE = rle.encode(MASK)


def read(limits, *items, size=SIZE):
    """The prompts as the envelope carries them."""
    return parse(json.dumps(items).encode(), size, limits, SIDE).prompts


def tensors(limits, *items):
    return mask_tensors(parse(json.dumps(items).encode(), SIZE, limits, SIDE).masks, SIZE, SMALL)


INVALID = {
    "no object": ({"points": [[1, 1]], "labels": [1]}, '"object" is missing'),
    "object is text": (CLICK | {"object": "1"}, "integer from 0 to 2"),
    "object is true": (CLICK | {"object": True}, "integer from 0 to 2"),
    "object is a float": (CLICK | {"object": 1.0}, "integer from 0 to 2"),
    "object is negative": (CLICK | {"object": -1}, "integer from 0 to 2"),
    "object beyond int64": (CLICK | {"object": 2**63}, "integer from 0 to 2"),
    "no JSON object": (7, "7 is no JSON object"),
    "unknown key": (CLICK | {"colour": 1}, "unknown key 'colour'. Known: object, points"),
    "points without labels": ({"object": 1, "points": [[1, 1]]}, "go together"),
    "labels without points": ({"object": 1, "labels": [1]}, "go together"),
    "fewer labels": ({"object": 1, "points": [[1, 1], [2, 2]], "labels": [1]}, "2 points but 1 labels"),
    "no points in the list": ({"object": 1, "points": [], "labels": []}, "at least one point"),
    "points no list": (CLICK | {"points": 5}, "list of"),
    "points null": (CLICK | {"points": None}, "list of"),
    "point of three": (CLICK | {"points": [[1, 2, 3]]}, "A point is"),
    "point is a number": (CLICK | {"points": [1]}, "A point is"),
    "label 2": (CLICK | {"labels": [2]}, "label 2. A label is 1"),
    "label -1": (CLICK | {"labels": [-1]}, "label -1. A label is 1"),
    "label true": (CLICK | {"labels": [True]}, "label True. A label is 1"),
    "x too large": (CLICK | {"points": [[400.5, 1]]}, "x is 400.5. The frame has x from 0 to 200 .pixels.; the server takes -200 to 400"),
    "y too large": (CLICK | {"points": [[1, 201]]}, "y is 201. The frame has y from 0 to 100 .pixels.; the server takes -100 to 200"),
    "x too small": (CLICK | {"points": [[-200.1, 1]]}, "x is -200.1"),
    "x beyond a float": (CLICK | {"points": [[1e400, 1]]}, "x is inf"),
    "x not a number": (CLICK | {"points": [[float("nan"), 1]]}, "x is nan"),
    "y infinite": (CLICK | {"points": [[1, float("inf")]]}, "y is inf"),
    "x huge": (CLICK | {"points": [[10**400, 1]]}, "x is 1000"),
    "x true": (CLICK | {"points": [[True, 1]]}, "x is True"),
    "x text": (CLICK | {"points": [["1", 1]]}, "x is '1'"),
    "box of three": ({"object": 1, "box": [1, 2, 3]}, "A box is"),
    "box null": ({"object": 1, "box": None}, "A box is"),
    "box far outside": ({"object": 1, "box": [0, 0, 401, 9]}, "x is 401"),
    "box and append": (CLICK | {"box": [1, 1, 5, 5], "append": True}, '"append"'),
    "append alone": ({"object": 1, "append": True}, '"append" adds points'),
    "append with clear only": ({"object": 1, "append": True, "clear": True}, '"append" adds points'),
    "append text": (CLICK | {"append": "yes"}, "true or false"),
    "clear null": (CLICK | {"clear": None}, "true or false"),
    "mask and points": (CLICK | {"mask": RLE}, '"mask" does not go with'),
    "mask and box": ({"object": 1, "mask": RLE, "box": [1, 1, 5, 5]}, '"mask" does not go with'),
    "mask and append": ({"object": 1, "mask": RLE, "append": True}, '"append" adds points'),
    "mask of another size": ({"object": 1, "mask": rle.encode(MASK.T)}, r"size \[200, 100\], but the frame is \[100, 200\]"),
    "mask without counts": ({"object": 1, "mask": {"size": [100, 200]}}, "COCO run lengths"),
    "mask text": ({"object": 1, "mask": "abc"}, "COCO run lengths"),
    "remove and points": (CLICK | {"remove": True}, '"remove" stands alone'),
    "remove and clear": ({"object": 1, "remove": True, "clear": True}, '"remove" stands alone'),
    "remove and mask": ({"object": 1, "remove": True, "mask": RLE}, '"remove" stands alone'),
    "nothing": ({"object": 1}, "asks for nothing"),
    "nothing, said with false": ({"object": 1, "append": False, "remove": False}, "asks for nothing"),
}


@pytest.mark.parametrize(("item", "message"), INVALID.values(), ids=INVALID.keys())
def test_an_invalid_prompt_is_refused_with_its_object_and_its_fault(limits, item, message):
    known = isinstance(item, dict) and item.get("object") == 1 and type(item["object"]) is int
    name = r"object 1 \(prompt 1\)" if known else "prompt 1"
    with pytest.raises(BadPrompt, match=f"^{name}: .*{message}"):
        read(limits, {"object": 99, "box": [1, 1, 2, 2]}, item)


BAD_MASKS = {
    "damaged text": {"size": list(SIZE), "counts": "###"},
    "too few pixels": {"size": list(SIZE), "counts": rle.encode(MASK[:50])["counts"]},
    "list with too few pixels": {"size": list(SIZE), "counts": [3, 4]},
    "list with a negative run": {"size": list(SIZE), "counts": [-1, 20001]},
    "list with a float": {"size": list(SIZE), "counts": [0.5, 19999.5]},
    "list with true": {"size": list(SIZE), "counts": [True, 19999]},
    "list with a huge run": {"size": list(SIZE), "counts": [10**30]},
    "empty list": {"size": list(SIZE), "counts": []},
    "counts null": {"size": list(SIZE), "counts": None},
}


@pytest.mark.parametrize("mask", BAD_MASKS.values(), ids=BAD_MASKS.keys())
def test_a_damaged_mask_is_refused(limits, mask):
    with pytest.raises(BadPrompt, match=r"^object 7: its mask is not valid"):
        tensors(limits, CLICK, {"object": 7, "mask": mask})


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "no JSON"),
        (b"{", "no JSON"),
        (b"\xff\xfe[\x00]\x00", "no JSON"),
        (b"[" * 40_000, "no JSON"),
        (b"[" + b"9" * 5000 + b"]", "no JSON"),
        (b"{}", "Send a list"),
        (b"null", "Send a list"),
        (b" " * 50_001, "50001 bytes"),
        (b'[{"object": 1, "clear": true, "object": 2}]', "key twice: .'object', 'clear', 'object'"),
        (b'[{"object": 1, "mask": {"size": [100, 200], "size": [1, 1], "counts": "0"}}]', "key twice"),
    ],
    ids=["empty", "damaged", "utf-16", "deep", "long integer", "object", "null", "long", "key twice", "key of a mask twice"],
)
def test_what_is_no_json_list_is_refused(limits, data, message):
    with pytest.raises(BadPrompt, match=message):
        parse(data, SIZE, limits, SIDE)


def test_an_object_may_have_one_prompt_a_request(limits):
    with pytest.raises(BadPrompt, match=r"object 1 \(prompt 1\): it has a prompt already"):
        read(limits, CLICK, CLICK)


def test_the_number_of_prompts_is_limited(limits):
    items = [CLICK | {"object": object_id} for object_id in range(5)]
    assert len(read(limits, *items[:4])) == 4
    with pytest.raises(BadPrompt, match="5 prompts in one request; the server takes 4"):
        read(limits, *items)


def test_the_number_of_points_is_limited_and_a_box_counts_as_two(limits):
    def item(count, **more):
        return {"object": 1, "points": [[1, 1]] * count, "labels": [1] * count, **more}

    for allowed in (item(6), item(4, box=[1, 1, 2, 2])):
        (prompt,) = read(limits, allowed)
        assert len(prompt.points) == len(prompt.labels) == 6
    with pytest.raises(TooManyPoints, match="7 points; the server takes 6"):
        read(limits, item(7))
    with pytest.raises(TooManyPoints, match="5 points; the server takes 4"):
        read(limits, item(5, box=[1, 1, 2, 2]))


@pytest.mark.parametrize("item", [CLICK, {"object": 1, "clear": True}, {"object": 1, "mask": RLE}], ids=["points", "clear", "mask"])
def test_without_a_frame_prompts_may_only_remove(limits, item):
    assert read(limits, {"object": 5, "remove": True}, size=None)[0].remove
    with pytest.raises(BadPrompt, match="has no frame"):
        read(limits, item, size=None)


def test_the_pixels_of_all_masks_are_limited(limits):
    def items(count):
        return [{"object": object_id, "mask": RLE} for object_id in range(count)]

    assert len(read(limits, *items(3))) == 3  # of 20000 pixels each
    with pytest.raises(BadPrompt, match=r"mask prompts of 80000 pixels \(4 x 100 x 200\) in one request; the server takes 60000. Spread"):
        read(limits, *items(4))


def test_points_at_and_beyond_the_edges_of_the_frame_are_kept_as_given(limits):
    points = [[0, 0], [200, 100], [-0.3, 100.3], [-200, -100], [400, 200]]
    (prompt,) = read(limits, {"object": 1, "points": points, "labels": [1] * 5})
    scaled = np.array(prompt.points, np.float32)
    np.testing.assert_array_equal(scaled, np.array(points, np.float32) / np.float32([200, 100]) * np.float32(SIDE))
    np.testing.assert_array_equal(scaled[[0, 1, 3, 4]], [[0, 0], [SIDE, SIDE], [-SIDE, -SIDE], [2 * SIDE, 2 * SIDE]])


@pytest.mark.parametrize(
    ("box", "corners"),
    [
        ([-50, 10, 100, 150], [(-50, 10), (100, 150)]),
        ([100, 80, 20, 10], [(20, 10), (100, 80)]),
        ([100, 10, 20, 80], [(20, 10), (100, 80)]),
        ([20, 20, 20, 20], [(20, 20), (20, 20)]),
        ([5, 9, 5, 5], [(5, 5), (5, 9)]),
    ],
    ids=["outside", "turned", "mirrored", "a point", "a line"],
)
def test_a_box_is_its_top_left_and_its_bottom_right_corner(limits, box, corners):
    (prompt,) = read(limits, {"object": 1, "box": box})
    np.testing.assert_array_equal(prompt.points, np.float32(corners) / np.float32([200, 100]) * np.float32(SIDE))
    assert prompt.labels == (2, 3)


def test_points_are_scaled_in_float32_in_the_official_order():
    points = np.random.default_rng(0).uniform(0, 600, (500, 2)).astype(np.float32)
    expected = [[np.float32(np.float32(x / np.float32(854)) * 1008), np.float32(np.float32(y / np.float32(480)) * 1008)] for x, y in points]
    scaled = scale_points(points, (480, 854), 1008)  # with a power of two the order would not matter
    assert scaled.dtype == np.float32
    np.testing.assert_array_equal(scaled, np.array(expected, dtype=np.float32))


@pytest.mark.torch
def test_points_are_scaled_as_torch_scales_them():
    torch = pytest.importorskip("torch")
    points = np.random.default_rng(1).uniform(0, 600, (500, 2)).astype(np.float32)
    official = torch.from_numpy(points) / torch.tensor([854, 480]) * 1008
    np.testing.assert_array_equal(scale_points(points, (480, 854), 1008), official.numpy())


def test_a_box_is_two_points_in_front_of_the_clicks(limits):
    (prompt,) = read(limits, {"object": 3, "points": [[50, 50]], "labels": [0], "box": [0, 25, 100, 75]})
    assert prompt == Prompt(3, ((0, 16), (32, 48), (16, 32)), (2, 3, 0))


def test_each_prompt_keeps_its_flags_points_and_mask(limits):
    items = (
        CLICK | {"append": True},
        {"object": 2, "mask": RLE},
        {"object": 0, "remove": True},
        {"object": 2**63 - 1, "points": [[1, 1], [2, 2]], "labels": [1, 0], "clear": True},
    )
    x, y = (float(np.float32(side) / np.float32(whole) * np.float32(SIDE)) for side, whole in ((1, 200), (1, 100)))
    assert [prompt.object_id for prompt in read(limits, *items)] == [1, 2, 0, 2**63 - 1]
    clicked, masked, removed, cleared = read(limits, *items)
    assert clicked == Prompt(1, clicked.points, (1,), append=True)
    assert masked == Prompt(2, mask=True)
    assert removed == Prompt(0, remove=True)
    assert cleared == Prompt(2**63 - 1, ((x, y), (2 * x, 2 * y)), (1, 0), clear=True)
    assert tensors(limits, *items)["PROMPT_MASKS"].shape == (1, SIDE, SIDE)


def test_run_lengths_as_text_and_as_list_are_the_same_mask(limits):
    columns = MASK.T.ravel()
    edges = np.flatnonzero(np.diff(columns)) + 1
    runs = np.diff([0, *edges.tolist(), columns.size]).tolist()
    as_text = tensors(limits, {"object": 1, "mask": RLE})["PROMPT_MASKS"]
    as_list = tensors(limits, {"object": 1, "mask": {"size": list(SIZE), "counts": runs}})["PROMPT_MASKS"]
    np.testing.assert_array_equal(as_text, as_list)
    # The rectangle spans 20..60 of 100 rows and 50..150 of 200 columns: with 64 pixels 13..38 and 16..48, but for its rounded edges.
    assert as_text[0, 14:38, 17:47].all()
    assert not as_text[0, :12].any()
    assert not as_text[0, :, :15].any()


def test_an_empty_mask_is_allowed(limits):
    empty = rle.encode(np.zeros(SIZE, dtype=bool))
    assert not tensors(limits, {"object": 1, "mask": empty})["PROMPT_MASKS"].any()

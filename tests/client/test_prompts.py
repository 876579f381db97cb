"""Prompts: what users say, what the server reads, what is refused before it is sent."""

from __future__ import annotations

import numpy as np
import pytest

from masklet import BadPrompt, prompts, rle

MASK = np.eye(4, dtype=np.uint8)


@pytest.mark.parametrize(
    ("said", "item"),
    [
        pytest.param({"points": [(1, 2)], "labels": [0]}, {"points": [[1.0, 2.0]], "labels": [0]}, id="point"),
        pytest.param({"points": [(1, 2), (3, 4)]}, {"points": [[1.0, 2.0], [3.0, 4.0]], "labels": [1, 1]}, id="labels_default_to_1"),
        pytest.param({"points": np.float32([[1, 2]]), "labels": np.int64([1])}, {"points": [[1.0, 2.0]], "labels": [1]}, id="arrays"),
        pytest.param({"box": (1, 2, 3, 4.5)}, {"box": [1.0, 2.0, 3.0, 4.5]}, id="box"),
        pytest.param(
            {"box": (1, 2, 3, 4), "points": [(1, 2)]}, {"points": [[1.0, 2.0]], "labels": [1], "box": [1.0, 2.0, 3.0, 4.0]}, id="box_and_point"
        ),
        pytest.param({"mask": MASK}, {"mask": rle.encode(MASK.astype(bool))}, id="mask"),
        pytest.param({"mask": MASK * 255}, {"mask": rle.encode(MASK.astype(bool))}, id="mask_of_255"),
        pytest.param({"points": [(1, 2)], "append": True}, {"points": [[1.0, 2.0]], "labels": [1], "append": True}, id="append"),
        pytest.param({"clear": True}, {"clear": True}, id="clear_alone"),
    ],
)
def test_a_prompt_becomes_an_item_that_holds_what_was_said_and_no_more(said, item):
    assert prompts.item(7, **said) == {"object": 7, **item}


@pytest.mark.parametrize(
    ("said", "says"),
    [
        pytest.param({}, "needs points, a box or a mask", id="nothing"),
        pytest.param({"labels": [1]}, "labels without points", id="labels_alone"),
        pytest.param({"points": [(1, 2)], "labels": [1, 0]}, r"1 points, but labels of shape \(2,\)", id="too_many_labels"),
        pytest.param({"points": [(1, 2)], "labels": [2]}, "1 .on the object. or 0", id="label_2"),
        pytest.param({"points": (1, 2)}, r"shape \(N, 2\)", id="flat_point"),
        pytest.param({"points": np.zeros((0, 2))}, r"shape \(N, 2\)", id="no_points"),
        pytest.param({"points": [(1, float("nan"))]}, "finite", id="nan"),
        pytest.param({"points": [("a", "b")]}, "numbers", id="text"),
        pytest.param({"box": (1, 2, 3)}, "x0, y0, x1, y1", id="box_of_three"),
        pytest.param({"box": (1, 2, 3, 4), "append": True}, "box cannot be appended|append adds points", id="box_appended"),
        pytest.param({"box": (1, 2, 3, 4), "points": [(1, 2)], "append": True}, "box cannot be appended", id="box_with_points_appended"),
        pytest.param({"clear": True, "append": True}, "append adds points", id="nothing_appended"),
        pytest.param({"mask": MASK, "points": [(1, 2)]}, "stands alone", id="mask_and_point"),
        pytest.param({"mask": MASK, "box": (1, 2, 3, 4)}, "stands alone", id="mask_and_box"),
        pytest.param({"mask": MASK, "append": True}, "stands alone", id="mask_appended"),
        pytest.param({"mask": MASK.astype(np.float32)}, "float32", id="mask_of_floats"),
        pytest.param({"mask": MASK[0]}, r"\(4,\)", id="flat_mask"),
    ],
)
def test_obvious_mistakes_are_refused_with_a_reason(said, says):
    with pytest.raises(BadPrompt, match=says):
        prompts.item(1, **said)


@pytest.mark.parametrize("object_id", [-1, 2**63, 1.0, "1", True, None])
def test_object_ids_are_integers_that_fit_the_wire(object_id):
    with pytest.raises(BadPrompt, match="object id"):
        prompts.removal(object_id)


def test_numpy_integers_are_object_ids():
    assert prompts.removal(np.int32(5)) == {"object": 5, "remove": True}
    assert type(prompts.removal(np.int32(5))["object"]) is int


POINT = prompts.item(1, points=[(1, 1)])
ANEW = prompts.item(1, points=[(3, 3)], append=True, clear=True)
MORE = prompts.item(1, points=[(2, 2)], labels=[0], append=True)


@pytest.mark.parametrize(
    ("earlier", "later", "together"),
    [
        pytest.param(None, POINT, POINT, id="first"),
        pytest.param(POINT, prompts.item(1, box=(1, 2, 3, 4)), prompts.item(1, box=(1, 2, 3, 4)), id="replaced"),
        pytest.param(POINT, MORE, prompts.item(1, points=[(1, 1), (2, 2)], labels=[1, 0]), id="appended"),
        pytest.param(POINT, ANEW, ANEW, id="cleared_and_appended"),
        pytest.param(prompts.item(1, mask=MASK), ANEW, ANEW, id="mask_cleared_and_appended"),
        pytest.param(MORE, MORE, prompts.item(1, points=[(2, 2), (2, 2)], labels=[0, 0], append=True), id="appended_twice_to_the_server"),
        pytest.param(prompts.item(1, box=(1, 2, 3, 4)), MORE, prompts.item(1, box=(1, 2, 3, 4), points=[(2, 2)], labels=[0]), id="appended_to_a_box"),
        pytest.param(prompts.item(1, clear=True), POINT, prompts.item(1, points=[(1, 1)], clear=True), id="clear_stays"),
    ],
)
def test_two_prompts_of_one_object_for_one_frame_become_one(earlier, later, together):
    assert prompts.joined(earlier, later) == together


def test_points_are_not_appended_to_a_mask_of_the_same_frame():
    with pytest.raises(BadPrompt, match="mask prompt of the same frame"):
        prompts.joined(prompts.item(1, mask=MASK), MORE)

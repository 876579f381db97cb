"""How far an engine in reduced precision is from its float32 network: every row counts, and only a choice that rounding may decide is free."""

from __future__ import annotations

import numpy as np
import pytest

from masklet_build.checkpoints.random_weights import random_checkpoint
from masklet_build.export.bars import ROUNDED
from masklet_build.export.precision import check
from masklet_build.export.precision.ties import other_answers
from masklet_build.models.samples import Sizes, sample_inputs
from masklet_build.models.stages import TorchStages
from masklet_build.models.variants import variant

pytestmark = pytest.mark.torch

LIMIT = ROUNDED["bf16"]
ROWS = 8
SMALL = variant("efficienttam_ti_512@64")
PRESENCE = "sam_mask_decoder.pred_obj_score_head.layers.2.bias"


class Fixed:
    """A network of three rows."""

    def call(self, engine, inputs):
        return {"LOW": np.float32([[0, 2], [0, 2], [0, 2]]), "SCORE": np.float32([10, 0.1, 1])}


def test_the_difference_is_that_of_the_worst_row_in_its_deviations():
    got = {"LOW": np.float32([[0.05, 2.05], [0.1, 2.1], [0, 2]]), "SCORE": np.float32([11, 0.2, 1])}
    found = check.differences("memory_encoder", lambda inputs: got, Fixed(), [{}], 0.2)
    assert found == pytest.approx({"LOW": 0.1, "SCORE": 0.1}, abs=1e-6)
    with pytest.raises(check.TypedError, match=r"LOW is off by 0\.1 .* in row 1; rounding explains 0\.08.*Export in another precision, the surest"):
        check.differences("memory_encoder", lambda inputs: got, Fixed(), [{}], 0.08)


@pytest.mark.parametrize("row", range(3))
def test_one_wrong_row_of_many_calls_is_found(row):
    good = Fixed().call("", {})
    bad = {**good, "LOW": good["LOW"].copy()}
    bad["LOW"][row] = 9
    answers = iter([good, bad, good])
    with pytest.raises(check.TypedError, match=f"LOW is off by .* in row {row}"):
        check.differences("memory_encoder", lambda inputs: next(answers), Fixed(), [{}] * 3, 1)


def test_other_shapes_and_types_and_what_is_not_finite_are_no_answers():
    good = Fixed().call("", {})
    for broken in (good["LOW"][:2], good["LOW"].astype(np.float64), np.full_like(good["LOW"], np.inf)):
        with pytest.raises(check.TypedError, match="wanted float32"):
            check.differences("memory_encoder", lambda inputs, low=broken: {**good, "LOW": low}, Fixed(), [{}], 1)


@pytest.fixture(scope="module")
def reference():
    """Random weights, whose masks are about as good as each other, of objects that are there."""
    state = random_checkpoint(SMALL, seed=1)
    return TorchStages({**state, PRESENCE: state[PRESENCE] + 5}, SMALL)


@pytest.fixture(scope="module")
def inputs():
    """Rows without a user's mask, of which every second one chooses among three masks."""
    made = sample_inputs("mask_decoder", SMALL, Sizes(V=1, B=ROWS), seed=4)
    return {**made, "KIND": np.zeros(ROWS, np.int32), "MULTIMASK": np.arange(ROWS, dtype=np.int32) % 2}


def judged(reference, inputs, got, limit=LIMIT):
    return check.differences("mask_decoder", lambda _: got, reference, [inputs], limit)


@pytest.fixture
def chosen_otherwise(reference, inputs):
    """An answer in which one row is that of another mask, as good by the predicted IoU as that which float32 chooses; and that row."""
    wanted = reference.call("mask_decoder", inputs)
    for other in other_answers(reference, inputs, LIMIT):
        for row in range(1, ROWS, 2):
            if (
                np.isfinite(other["IOU"][row])
                and np.abs(other["LOW"][row] - wanted["LOW"][row]).max() > 5
                and other["SCORE"][row] == wanted["SCORE"][row]
            ):
                got = {name: values.copy() for name, values in wanted.items()}
                for name, values in got.items():
                    values[row] = other[name][row]
                return got, row
    raise AssertionError("no row of these inputs has two masks that are nearly as good")


def test_a_row_may_be_that_of_another_mask_where_rounding_decides_and_only_there(reference, inputs, chosen_otherwise):
    got, row = chosen_otherwise
    assert max(judged(reference, inputs, got).values()) < 1e-3
    with pytest.raises(check.TypedError, match=f"in row {row}"):
        judged(reference, inputs, got, 1e-6)


def test_mask_and_pointer_of_two_choices_are_no_answer(reference, inputs, chosen_otherwise):
    got, row = chosen_otherwise
    wanted = reference.call("mask_decoder", inputs)
    with pytest.raises(check.TypedError, match=f"in row {row}"):
        judged(reference, inputs, {**got, "POINTER": wanted["POINTER"]})


def test_a_fault_in_most_rows_or_in_one_is_none_of_the_choices(reference, inputs):
    wanted = reference.call("mask_decoder", inputs)
    for rows in (range(ROWS - 2), [ROWS - 1]):
        low = wanted["LOW"].copy()
        low[list(rows)] = np.roll(low[list(rows)], 20, axis=2)
        with pytest.raises(check.TypedError, match="LOW is off by"):
            judged(reference, inputs, {**wanted, "LOW": low})


def test_presence_is_free_only_where_its_logit_is_nearly_0(reference, inputs):
    wanted = reference.call("mask_decoder", inputs)
    nearest = np.abs(wanted["SCORE"]).min()
    for limit, within in ((1.01 * nearest, True), (0.99 * nearest, False)):
        others = list(other_answers(reference, inputs, limit))
        assert all((np.sign(other["SCORE"]) == np.sign(wanted["SCORE"])).all() for other in others) is not within


def test_the_answer_of_float32_is_among_the_choices_and_asking_changes_nothing(reference, inputs):
    wanted = reference.call("mask_decoder", inputs)
    others = list(other_answers(reference, inputs, 1e-9))
    for row in range(ROWS):
        assert any(np.allclose(other["LOW"][row], wanted["LOW"][row], atol=1e-3) and np.isfinite(other["IOU"][row]) for other in others)
    again = reference.call("mask_decoder", inputs)
    assert all(np.array_equal(again[name], wanted[name]) for name in wanted)

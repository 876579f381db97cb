"""How far an output is from what is expected, and what is said of it."""

from __future__ import annotations

import math

import numpy as np
import pytest

from masklet_build.export.bars import BARS, coarsest
from masklet_build.export.fixtures.compare import compare
from masklet_build.export.fixtures.fixtures import MOST, Expected, Row, taken

RANDOM = np.random.default_rng(7)


def rows(name: str, outputs: np.ndarray) -> list[Row]:
    return [Row("memory_attention", None, {}, {name: Expected(np.shape(one), np.asarray(taken(one)))}) for one in outputs]


def maps(count: int = 3) -> np.ndarray:
    return RANDOM.standard_normal((count, 4, 8, 8), dtype=np.float32) * 5 + 3


def size(row: np.ndarray) -> float:
    return math.sqrt(np.mean(row.astype(np.float64) ** 2))


@pytest.mark.parametrize("precision", BARS)
def test_an_error_just_below_the_bar_passes_and_one_just_above_does_not(precision: str) -> None:
    wanted, bar = maps(), BARS[precision]
    for part, right in ((0.98, True), (1.02, False)):
        got = wanted.copy()
        got[1] += part * bar.typical * size(wanted[1])
        figures = compare("CONDITIONED", got, rows("CONDITIONED", wanted), bar)
        assert (figures.problem(bar) is None) == right
        assert figures.typical == pytest.approx(part * bar.typical, rel=1e-3)


def test_a_single_number_that_is_far_off_is_seen_although_the_mean_is_small() -> None:
    wanted, bar = maps(), BARS["fp16"]
    got = wanted.copy()
    got[2, 0, 0, 0] += 0.12 * size(wanted[2])
    figures = compare("CONDITIONED", got, rows("CONDITIONED", wanted), bar)
    assert figures.typical < bar.typical
    assert "row 2 is off" in str(figures.problem(bar))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_named(value: float) -> None:
    wanted, bar = maps(), BARS["bf16"]
    got = wanted.copy()
    got[1, 3, 7, 7] = value
    assert "row 1 is not finite" in str(compare("CONDITIONED", got, rows("CONDITIONED", wanted), bar).problem(bar))


def test_rows_that_are_mixed_up_are_named() -> None:
    wanted, bar = maps(), BARS["bf16"]
    assert "row 1 is the answer of row 2" in str(compare("CONDITIONED", wanted[[0, 2, 2]], rows("CONDITIONED", wanted), bar).problem(bar))


@pytest.mark.parametrize("made", [maps()[:2], maps()[:, :2], maps().astype(np.float64), maps().reshape(3, -1)])
def test_another_shape_or_type_is_no_answer(made: np.ndarray) -> None:
    assert compare("CONDITIONED", made, rows("CONDITIONED", maps()), BARS["bf16"]).typical == math.inf


@pytest.mark.parametrize(("precision", "bits"), [("fp16", 11), ("bf16", 8)])
def test_a_map_without_deviation_is_measured_by_its_numbers(precision: str, bits: int) -> None:
    """An empty mask makes a prompt that is the same everywhere; half a step of its type is rounding, a dozen are not."""
    wanted, bar = np.full((2, 8, 8), -1024, np.float32), BARS[precision]
    step = np.float32(1024 * 2.0 ** (1 - bits))
    assert compare("LOW", wanted + step / 2, rows("LOW", wanted), bar).problem(bar) is None
    assert compare("LOW", wanted + 12 * step, rows("LOW", wanted), bar).problem(bar) is not None


def test_a_score_of_the_wrong_sign_is_a_finding_but_a_near_tie_is_none() -> None:
    wanted, bar = np.array([9.0, -8.0, 0.05], np.float32), BARS["fp16"]
    assert compare("SCORE", np.array([9.1, -8.1, -0.02], np.float32), rows("SCORE", wanted), bar).problem(bar) is None
    figures = compare("SCORE", np.array([9.0, 0.1, 0.05], np.float32), rows("SCORE", wanted), bar)
    assert figures.flips == 1
    assert figures.problem(bar) is not None


def test_a_score_that_is_small_is_measured_by_one_and_a_large_one_by_itself() -> None:
    bar = BARS["fp16"]
    for wanted, off, right in ((0.01, 0.09, True), (0.01, 0.11, False), (20.0, 1.9, True), (20.0, 2.1, False)):
        one = np.array([wanted], np.float32)
        assert (compare("SCORE", one + np.float32(off), rows("SCORE", one), bar).problem(bar) is None) == right


def test_whole_numbers_have_to_be_equal() -> None:
    wanted = np.array([1, 0], np.int32)
    for bar in BARS.values():
        assert compare("PRESENT", wanted, rows("PRESENT", wanted), bar).problem(bar) is None
        assert compare("PRESENT", np.array([1, 1], np.int32), rows("PRESENT", wanted), bar).problem(bar) is not None


def test_bars_are_as_many_roundings_as_is_said() -> None:
    """2^-11 is a rounding of float16 and TF32, 2^-8 one of bfloat16. Fused attention in fp16 adds one per tile of 64 keys."""
    tiles = (7 * 64 * 64 + 16 * 4) / 64
    for precision, roundings, one in (("tf32", 5, 2.0**-11), ("bf16", 5, 2.0**-8), ("fp16", tiles**0.5, 2.0**-11)):
        assert BARS[precision].typical == pytest.approx(roundings * one, rel=0.05)
    assert all(bar.largest == pytest.approx(10 * bar.typical) for bar in BARS.values())


@pytest.mark.parametrize(("types", "wanted"), [(["fp16", "bf16"], "bf16"), (["fp32", "tf32"], "tf32"), (["fp32", "fp32"], "fp32")])
def test_an_engine_of_several_types_is_held_to_the_coarsest(types: list[str], wanted: str) -> None:
    assert coarsest(types) == wanted


@pytest.mark.parametrize("shape", [(256, 64, 64), (32, 256, 256), (128, 16, 16), (1, 1 << 18), (4096, 64)])
def test_what_is_stored_of_a_large_output_is_spread_over_it(shape: tuple[int, ...]) -> None:
    """Along each axis every index is met, and no index much more often than another: so no row, column or channel can be wrong unseen."""
    places = np.unravel_index(taken(np.arange(math.prod(shape)).reshape(shape)), shape)
    assert len(np.unique(np.ravel_multi_index(places, shape))) == min(MOST, math.prod(shape))
    for axis, size in enumerate(shape):
        if size <= MOST // 16:
            counts = np.bincount(places[axis], minlength=size)
            assert counts.min() >= 0.8 * len(places[axis]) / size
            assert counts.max() <= 1.2 * len(places[axis]) / size

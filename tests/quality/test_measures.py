"""J and F are those that the published program prints."""

from __future__ import annotations

import json
import time
from pathlib import Path

import numpy as np
import pytest

from masklet_build.quality.measures import boundary_accuracy, outline, region_similarity

DATA = Path(__file__).parents[1] / "data" / "davis_measures"
PUBLISHED = json.loads((DATA / "published.json").read_text())["measures"]


@pytest.fixture(scope="module")
def cases() -> dict[str, np.ndarray]:
    with np.load(DATA / "cases.npz") as arrays:
        return dict(arrays)


def test_every_case_has_the_published_numbers(cases: dict[str, np.ndarray]) -> None:
    assert len(PUBLISHED) > 100
    for name, published in PUBLISHED.items():
        truth, mask = cases[f"{name}_truth"], cases[f"{name}_mask"]
        found = {"J": region_similarity(truth, mask).item(), "F": boundary_accuracy(truth, mask)}
        assert found == pytest.approx(published, abs=1e-12), f"case {name}, {truth.shape}"


def test_many_masks_at_once_have_the_similarities_of_each_alone(cases: dict[str, np.ndarray]) -> None:
    pairs = [(cases[f"{name}_truth"], cases[f"{name}_mask"]) for name in PUBLISHED]
    pairs = [pair for pair in pairs if pair[0].shape == (48, 64)]
    together = region_similarity(np.stack([truth for truth, _ in pairs]), np.stack([mask for _, mask in pairs]))
    assert together.tolist() == [region_similarity(*pair).item() for pair in pairs]
    assert len(set(together.tolist())) > 3


def test_the_outline_of_a_square_is_offset_to_the_upper_left() -> None:
    mask = np.zeros((5, 6), np.bool_)
    mask[2:4, 2:4] = True
    assert outline(mask).astype(int).tolist() == [[0, 0, 0, 0, 0, 0], [0, 1, 1, 1, 0, 0], [0, 1, 0, 1, 0, 0], [0, 1, 1, 1, 0, 0], [0, 0, 0, 0, 0, 0]]


def test_a_shift_within_the_tolerance_costs_nothing_and_one_beyond_it_does() -> None:
    """At 120 x 160 the diagonal is 200 pixels, so outlines may be 2 pixels apart: 0.008 of it, rounded up."""
    mask = np.zeros((120, 160), np.bool_)
    mask[40:80, 50:90] = True
    assert [boundary_accuracy(mask, np.roll(mask, shift, 1)) == 1 for shift in (1, 2, 3)] == [True, True, False]


def test_f_of_a_frame_of_256_pixels_takes_less_than_3_ms_of_a_cpu() -> None:
    rng, (y, x) = np.random.default_rng(0), np.mgrid[:256, :256]
    truth, mask = (np.hypot(y - 128, x - 128) < 70 + rng.normal(0, 2, (2, 256, 256)))[:]
    spent = []
    for _ in range(20):
        begin = time.thread_time()
        boundary_accuracy(truth, mask)
        spent.append(time.thread_time() - begin)
    assert min(spent) < 0.003

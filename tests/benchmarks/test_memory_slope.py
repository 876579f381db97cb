"""The line that tells whether the server grows."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.memory_slope import after, slope


def test_the_slope_of_a_straight_line_is_its_slope() -> None:
    line = slope([0, 10, 20, 40], [5, 35, 65, 125])
    assert line.per_frame == pytest.approx(3)
    assert line.error == pytest.approx(0, abs=1e-9)


def test_noise_around_a_level_is_within_its_error() -> None:
    noise = np.random.default_rng(0).normal(0, 4096, 200).astype(int)
    line = slope(range(200), (10**9 + noise).tolist())
    assert abs(line.per_frame) < 3 * line.error


def test_only_frames_from_the_first_on_count() -> None:
    assert after(20, [0, 10, 20, 30], [1, 2, 3, 4]) == ([20, 30], [3, 4])

"""What a window amounts to and whether it counts."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.load.figures import Figures, Limits, figures, judge, times
from benchmarks.load.schedule import Sample

LIMITS = Limits(objective_ms=200, lag_ms=10)


def frame(latency_ms: float | None, lag_ms: float = 1.0, error: str | None = None) -> Sample:
    return Sample("frame", 0.0, lag_ms, latency_ms, None if latency_ms is None else latency_ms - lag_ms, error)


def window(*, slow: int = 0, slow_ms: float = 300.0, lost: int = 0, late: int = 0, busy: float = 0.1) -> Figures:
    """1000 frames of 50 ms, with so many that are slower, lost, or handed over late by 30 ms."""
    quick = [frame(50.0)] * (1000 - slow - lost - late)
    return figures([*quick, *[frame(slow_ms)] * slow, *[frame(None, error="VideoLost")] * lost, *[frame(80.0, 30.0)] * late], busy)


def test_a_percentile_is_the_least_value_that_so_many_frames_do_not_exceed() -> None:
    assert times(range(1, 101)) == {"p50": 50, "p90": 90, "p95": 95, "p99": 99, "max": 100}


def test_lost_frames_are_the_slowest_of_all() -> None:
    found = window(lost=11)
    assert (found.lost, found.latency["p95"], found.latency["p99"], found.service["max"]) == (11, 50.0, np.inf, 49.0)


def test_a_window_within_the_objective_passes_and_one_slow_frame_in_a_hundred_is_allowed() -> None:
    assert judge(window(slow=10), LIMITS).outcome == "passed"
    assert judge(window(slow=11), LIMITS).outcome == "failed"


def test_a_single_lost_frame_fails_a_window() -> None:
    verdict = judge(window(lost=1), LIMITS)
    assert (verdict.outcome, verdict.reason) == ("failed", "1 of 1000 frames lost; 1 x VideoLost")


def test_an_end_that_failed_fails_a_window_but_is_no_frame() -> None:
    found = figures([frame(50.0), Sample("END", 0.0, 0.0, None, None, "VideoLost")], 0.1)
    assert (found.frames, found.lost, judge(found, LIMITS).outcome) == (1, 0, "failed")


@pytest.mark.parametrize("late", [window(late=11), window(late=11, lost=50), window(late=11, slow=500), window(busy=0.95), figures([], 0.1)])
def test_a_generator_that_was_late_or_busy_or_silent_voids_a_window_whatever_was_measured(late: Figures) -> None:
    assert judge(late, LIMITS).outcome == "void"


def test_a_window_without_frames_says_so() -> None:
    assert judge(figures([], 0.1), LIMITS).reason == "no frame was due"


def test_verdicts_far_from_the_objective_are_clear_and_near_it_are_not() -> None:
    seen = [judge(window(slow=20, slow_ms=slow), LIMITS) for slow in (90, 110, 390, 410)]
    assert [(verdict.outcome, verdict.clear) for verdict in seen] == [("passed", True), ("passed", False), ("failed", False), ("failed", True)]
    assert [judge(window(lost=lost), LIMITS).clear for lost in (10, 11)] == [False, True]

"""What is written about a load test is what was measured."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.load import results
from benchmarks.load.figures import Limits, Verdict, figures, judge
from benchmarks.load.plan import Level, Plan, Search
from benchmarks.load.schedule import Sample
from benchmarks.load.trials import Book, Times, Trial, Trials

OPTIONS = {"client": "async", "objective_ms": 200.0, "window_s": 20.0}
LIMITS, TIMES = Limits(200, 10), Times(10, 20, 240)


def trial(purpose: str, videos: int, latency_ms: float | None, lag_ms: float = 1.0, frames: int = 100) -> Trial:
    """So many frames, all alike; None: two of them are lost."""
    lost = [Sample("frame", 0.0, lag_ms, None, None, "VideoLost")] * (2 if latency_ms is None else 0)
    quick = latency_ms or 50.0
    found = figures([*[Sample("frame", 0.0, lag_ms, quick, quick - lag_ms, None)] * (frames - len(lost)), *lost], 0.1)
    return Trial(Level(purpose, videos), judge(found, LIMITS), found)


def made(*done: Trial, capacity: int | None = 10) -> dict:
    trials = Trials(Plan(3, 8, Search(64), capacity), LIMITS, TIMES, Book(), print)
    trials.done += done
    return results.content(trials, OPTIONS) | {"facts": {"generator": {"cores": 2}}}


def test_percentiles_are_medians_of_the_runs_without_the_search_and_without_void_ones() -> None:
    content = made(trial("search", 16, 900.0), *[trial("run", 8, latency) for latency in (60.0, 70.0, 100.0)], trial("run", 8, 500.0, lag_ms=11.0))
    assert (content["videos"], content["runs"], content["passed"]) == (8, 3, True)
    assert content["milliseconds"]["latency"]["p99"] == {"median": 70.0, "least": 60.0, "most": 100.0}
    assert content["milliseconds"]["lag"]["p99"]["most"] == 1.0
    assert [row["outcome"] for row in content["tried"]] == ["failed", "passed", "passed", "passed", "void"]


def test_a_run_that_failed_fails_the_test_and_no_run_does_too() -> None:
    assert not made(trial("run", 8, 60.0), trial("run", 8, 900.0))["passed"]
    assert not made(trial("search", 1, 900.0))["passed"]


@pytest.mark.parametrize("latency", [60.0, None])
def test_the_files_are_json_and_tables_with_as_many_cells_as_their_heads(latency: float | None, tmp_path: Path) -> None:
    nothing = Trial(Level("run", 8), Verdict("void", "only 3 of 8 cameras started"))
    results.write(tmp_path, made(trial("search", 16, 900.0), nothing, *[trial("run", 8, latency)] * 3))
    assert json.loads((tmp_path / "load.json").read_text())["milliseconds"]["latency"]["p99"]["median"] == latency
    text = (tmp_path / "load.md").read_text()
    assert ("lost" in text.split("Every level")[0].split("| p50")[1]) == (latency is None)
    tables = [block for block in text.split("\n\n") if block.startswith("|")]
    assert [len(table.splitlines()) for table in tables] == [5, 7]
    for table in tables:
        assert len({line.count("|") for line in table.splitlines()}) == 1


def headline(*done: Trial, capacity: int | None = 10) -> str:
    return results.markdown(made(*done, capacity=capacity)).splitlines()[4]


GOOD = [trial("run", 8, 60.0, frames=1000)] * 3


@pytest.mark.parametrize("capacity", [10, None])
def test_a_number_of_videos_is_confirmed_by_runs_at_that_number_and_never_the_greater_one_of_the_search(capacity: int | None) -> None:
    said = headline(*GOOD, capacity=capacity)
    assert said.startswith("**8 live videos** are within the objective")
    assert said.endswith("The search, in windows of 20 s, went up to 10." if capacity else "in each of 3 runs of 1000 frames or more.")


@pytest.mark.parametrize(
    ("runs", "reason"),
    [
        ([*GOOD[:2], trial("run", 8, 900.0, frames=1000)], "1 of 3 runs failed."),
        ([*GOOD[:2], trial("run", 8, None, frames=1000)], "1 of 3 runs failed."),
        ([*GOOD[:2], trial("run", 8, 60.0, frames=999)], "The shortest run had time for 999 frames only, and a p99 needs 1000"),
        ([trial("run", 8, 900.0, frames=20)], "1 of 1 runs failed; the shortest run had time for 20 frames only"),
        ([], "No run was made."),
        ([trial("run", 8, 60.0, lag_ms=11.0, frames=1000)], "No run was made."),
    ],
)
def test_one_run_that_failed_or_was_short_leaves_it_unconfirmed_and_the_first_line_says_why(runs: list[Trial], reason: str) -> None:
    said = headline(*runs)
    assert said.startswith("**Not confirmed**: ")
    assert reason in said
    assert "live videos**" not in said


def test_a_server_that_carries_no_video_is_said_to_carry_none() -> None:
    assert headline(trial("search", 1, 900.0), capacity=0).startswith("**Not one live video**")


def test_a_test_without_a_result_says_why() -> None:
    trials = Trials(Plan(3, None, Search(64)), LIMITS, TIMES, Book(), print)
    trials.gave_up = "3 windows in a row were void."
    content = results.content(trials, OPTIONS)
    assert (content["passed"], content["capacity_videos"]) == (False, None)
    assert "**No result**: 3 windows in a row were void." in results.markdown(content)

"""What is written about a load test is what was measured."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.load import results
from benchmarks.load.figures import Limits, Verdict, figures, judge
from benchmarks.load.plan import Level, Plan, Search
from benchmarks.load.schedule import Sample
from benchmarks.load.trials import Book, Trial, Trials

OPTIONS = {"client": "async", "objective_ms": 200.0, "window_s": 20.0}
LIMITS = Limits(200, 10)


def trial(purpose: str, videos: int, latency_ms: float | None, lag_ms: float = 1.0, frames: int = 100) -> Trial:
    """So many frames, all alike; None: two of them are lost."""
    lost = [Sample("frame", 0.0, lag_ms, None, None, "VideoLost")] * (2 if latency_ms is None else 0)
    quick = latency_ms or 50.0
    found = figures([*[Sample("frame", 0.0, lag_ms, quick, quick - lag_ms, None)] * (frames - len(lost)), *lost], 0.1)
    return Trial(Level(purpose, videos), judge(found, LIMITS), found)


def made(*done: Trial, capacity: int | None = 10) -> dict:
    trials = Trials(Plan(3, 8, Search(64), capacity), LIMITS, 10, 20, Book(), print)
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


def test_a_capacity_is_confirmed_only_by_runs_that_all_passed_and_have_enough_frames() -> None:
    def headline(*runs: Trial) -> str:
        return next(line for line in results.markdown(made(*runs)).splitlines() if "10 live videos" in line)

    good = [trial("run", 8, 60.0, frames=1000)] * 3
    assert headline(*good).startswith("**10 live videos**")
    assert "1 of 3 runs at 8 videos failed" in headline(*good[:2], trial("run", 8, 900.0, frames=1000))
    assert "999 frames" in headline(*good[:2], trial("run", 8, 60.0, frames=999))
    assert headline().startswith("**Not confirmed**")
    assert headline(*good[:2], trial("run", 8, 900.0, frames=1000)).startswith("**Not confirmed**")


def test_a_test_without_a_result_says_why() -> None:
    trials = Trials(Plan(3, None, Search(64)), LIMITS, 10, 20, Book(), print)
    trials.gave_up = "3 windows in a row were void."
    content = results.content(trials, OPTIONS)
    assert (content["passed"], content["capacity_videos"]) == (False, None)
    assert "**No result**: 3 windows in a row were void." in results.markdown(content)

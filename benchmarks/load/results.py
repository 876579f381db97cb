"""What came out of a load test: the capacity, latency below it with the generator's own lag beside it, and every level that was tried."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.load.figures import ENOUGH, Times
from benchmarks.load.trials import Trial, Trials
from benchmarks.report import table
from masklet_build.quality.provenance import rounded

MEASURED = ("latency", "service", "lag")


def content(trials: Trials, options: dict[str, Any]) -> dict[str, Any]:
    """Everything, as JSON has it; a time without end is None."""
    runs = [trial for trial in trials.done if trial.level.purpose == "run" and trial.verdict.outcome != "void"]
    found = [trial.figures for trial in runs if trial.figures]
    return {
        "options": options,
        "capacity_videos": trials.capacity,
        "gave_up": trials.gave_up,
        "videos": runs[0].level.videos if runs else None,
        "passed": bool(runs) and all(trial.verdict.outcome == "passed" for trial in runs),
        "runs": len(runs),
        "milliseconds": {name: _across([getattr(figures, name) for figures in found]) for name in MEASURED} if found else {},
        "tried": [_plain(trial) for trial in trials.done],
    }


def _across(runs: Sequence[Times]) -> dict[str, dict[str, float | None]]:
    """Median, least and most over the runs of each percentile."""
    ways = {"median": np.median, "least": np.min, "most": np.max}
    return {name: {way: _finite(take([run[name] for run in runs])) for way, take in ways.items()} for name in runs[0]}


def _finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


def _plain(trial: Trial) -> dict[str, Any]:
    figures = {} if trial.figures is None else asdict(trial.figures)
    for name in MEASURED & figures.keys():
        figures[name] = {percentile: _finite(value) for percentile, value in figures[name].items()}
    return {**trial.level._asdict(), "outcome": trial.verdict.outcome, "reason": trial.verdict.reason, **figures}


def write(folder: Path, made: dict[str, Any]) -> None:
    """Writes load.json and load.md."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "load.json").write_text(json.dumps(rounded(made), indent=1, allow_nan=False) + "\n", encoding="utf-8")
    (folder / "load.md").write_text(markdown(made), encoding="utf-8")


def markdown(made: dict[str, Any]) -> str:
    """The tables."""
    options, videos = made["options"], made["videos"]
    lines = ["# Live videos on one server", "", "`benchmarks/README.md` says how to read this.", "", _headline(made), ""]
    if made["runs"]:
        label = f"At {videos} videos, medians of {made['runs']} runs (least-most), in ms"
        rows = ([name, *_cells(made["milliseconds"][key])] for key, name in zip(MEASURED, _LABELS, strict=True))
        lines += table([label, "p50", "p90", "p95", "p99", "max"], rows)
    heads = ["for", "videos", "", "frames", "lost", "latency p50", "p99", "lag p99", "CPU of a generator", ""]
    lines += [
        "Every level that was tried, in order:",
        "",
        *table(heads, map(_tried, made["tried"])),
        "; ".join(f"{name} {_words(value)}" for name, value in options.items()) + ".",
        "",
        *(f"{name}: {_words(value)}  " for name, value in made.get("facts", {}).items()),
    ]
    return "\n".join(lines).rstrip() + "\n"


def _headline(made: dict[str, Any]) -> str:
    """The result: a number of videos only where runs at that number were made; whether they confirm it; and what the search found."""
    objective = f"within the objective: p99 from due to answered at most {made['options']['objective_ms']:g} ms, none lost"
    searched = made["capacity_videos"]
    found = "" if searched is None else f" The search, in windows of {made['options']['window_s']:g} s, went up to {searched}."
    if made["gave_up"]:
        return f"**No result**: {made['gave_up']}{found}"
    if searched == 0:
        return f"**Not one live video** is {objective}."
    doubts = doubt(made)
    if doubts:
        return f"**Not confirmed**: {made['videos'] or searched} live videos {objective}. {'; '.join(doubts).capitalize()}.{found}"
    return f"**{made['videos']} live videos** are {objective}, in each of {made['runs']} runs of {ENOUGH} frames or more.{found}"


def doubt(made: dict[str, Any]) -> list[str]:
    """Why runs do not confirm that so many videos are within the objective; empty where they do."""
    runs = [trial for trial in made["tried"] if trial["purpose"] == "run" and trial["outcome"] != "void"]
    if not runs:
        return ["no run was made"]
    failed, fewest = sum(trial["outcome"] == "failed" for trial in runs), min(trial.get("frames", 0) for trial in runs)
    parts = [f"{failed} of {len(runs)} runs failed"] if failed else []
    return parts + ([f"the shortest run had time for {fewest} frames only, and a p99 needs {ENOUGH} (--longest-s)"] if fewest < ENOUGH else [])


_LABELS = ("from due to answered", "from sent to answered", "the generator's own lag")


def _cells(percentiles: dict[str, dict[str, float | None]]) -> list[str]:
    return [f"{_ms(value['median'])} ({_ms(value['least'])}-{_ms(value['most'])})" for value in percentiles.values()]


def _ms(value: float | None) -> str:
    return "lost" if value is None else f"{value:.1f}"


def _tried(trial: dict[str, Any]) -> list[object]:
    cells = [trial["purpose"], trial["videos"], trial["outcome"]]
    if "frames" in trial:
        latency = trial["latency"]
        cells += [trial["frames"], trial["lost"], _ms(latency["p50"]), _ms(latency["p99"]), _ms(trial["lag"]["p99"]), f"{trial['busy']:.0%}"]
    else:
        cells += [""] * 6
    return [*cells, "" if trial["outcome"] == "passed" else trial["reason"]]


def _words(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {item}" for name, item in value.items())
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)

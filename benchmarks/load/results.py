"""What came out of a load test: the capacity, latency below it with the generator's own lag beside it, and every level that was tried."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.load.figures import Times
from benchmarks.load.trials import Trial, Trials
from masklet_build.quality.provenance import rounded

MEASURED = ("latency", "service", "lag")
_ENOUGH_FRAMES = 1000  # of a run, for a p99 that is not one of its few slowest frames


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
    options, videos, capacity = made["options"], made["videos"], made["capacity_videos"]
    lines = ["# Live videos on one server", "", "`benchmarks/README.md` says how to read this.", ""]
    if made["gave_up"]:
        lines += [f"**No result**: {made['gave_up']}", ""]
    if capacity is not None:
        doubt = _doubt(made)
        found = f"**{capacity} live videos** within the objective" if not doubt else f"**Not confirmed**: {capacity} live videos within the objective"
        lines += [f"{found}: p99 from due to answered at most {options['objective_ms']:g} ms, none lost.{doubt}", ""]
    if made["runs"]:
        share = f", {videos / capacity:.0%} of that" if capacity else ""
        lines += [
            f"At {videos} videos{share}: medians of {made['runs']} runs of {options['window_s']:g} s (least-most), in ms.",
            "",
            "| | p50 | p90 | p95 | p99 | max |",
            "|---|---|---|---|---|---|",
            *(_row(label, made["milliseconds"][name]) for name, label in zip(MEASURED, _LABELS, strict=True)),
            "",
        ]
    lines += [
        "Every level that was tried, in order:",
        "",
        "| for | videos | | frames | lost | latency p50 | p99 | lag p99 | CPU of a generator | |",
        "|---|---|---|---|---|---|---|---|---|---|",
        *(_tried(trial) for trial in made["tried"]),
        "",
        "; ".join(f"{name} {_words(value)}" for name, value in options.items()) + ".",
        "",
        *(f"{name}: {_words(value)}  " for name, value in made.get("facts", {}).items()),
    ]
    return "\n".join(lines).rstrip() + "\n"


def _doubt(made: dict[str, Any]) -> str:
    """Why the capacity is not confirmed by the runs below it; empty where it is."""
    runs = [trial for trial in made["tried"] if trial["purpose"] == "run" and trial["outcome"] != "void"]
    if not runs:
        return " No run below it was made."
    failed = sum(trial["outcome"] == "failed" for trial in runs)
    fewest = min(trial.get("frames", 0) for trial in runs)
    parts = [f"{failed} of {len(runs)} runs at {made['videos']} videos failed"] if failed else []
    if fewest < _ENOUGH_FRAMES:
        parts.append(f"a run has {fewest} frames, too few for a 99th percentile (take a longer --window-s, for {_ENOUGH_FRAMES} or more)")
    return f" {'; '.join(parts).capitalize()}." if parts else ""


_LABELS = ("from due to answered", "from sent to answered", "the generator's own lag")


def _row(label: str, percentiles: dict[str, dict[str, float | None]]) -> str:
    cells = (f"{_ms(value['median'])} ({_ms(value['least'])}-{_ms(value['most'])})" for value in percentiles.values())
    return f"| {label} | " + " | ".join(cells) + " |"


def _ms(value: float | None) -> str:
    return "lost" if value is None else f"{value:.1f}"


def _tried(trial: dict[str, Any]) -> str:
    cells = [trial["purpose"], trial["videos"], trial["outcome"]]
    if "frames" in trial:
        latency = trial["latency"]
        cells += [trial["frames"], trial["lost"], _ms(latency["p50"]), _ms(latency["p99"]), _ms(trial["lag"]["p99"]), f"{trial['busy']:.0%}"]
    else:
        cells += [""] * 6
    return "| " + " | ".join(str(cell) for cell in [*cells, "" if trial["outcome"] == "passed" else trial["reason"]]) + " |"


def _words(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {item}" for name, item in value.items())
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)

"""What a window of time amounts to, and whether it counts: passed, failed, or void because the generator itself was late."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from benchmarks.load.schedule import Sample

PERCENTILES = (50, 90, 95, 99, 100)
ENOUGH = 1000  # frames of a run, for a p99 that is not one of its few slowest
MOST_BUSY = 0.9  # share of one CPU: a generator process has one thread that counts

Times = dict[str, float]  # "p50" ... "p99", "max" in milliseconds
Outcome = Literal["passed", "failed", "void"]


@dataclass(frozen=True)
class Figures:
    """The requests that were due in a window.

    frames   that were due; lost are those among them without an answer, dropped ones included
    errors   of frames and ENDs, the commonest first
    latency  from when a frame was due until it was answered; a lost frame takes for ever
    service  from when a frame was handed to the client until it was answered; lost ones are left out
    lag      from when a frame was due until it was handed to the client
    busy     the largest share of a CPU that a generator process used
    """

    frames: int
    lost: int
    errors: dict[str, int]
    latency: Times
    service: Times
    lag: Times
    busy: float


def figures(samples: Iterable[Sample], busy: float) -> Figures:
    """Sums a window up."""
    samples = list(samples)
    frames = [sample for sample in samples if sample.kind == "frame"]
    errors = Counter(sample.error for sample in samples if sample.error)
    return Figures(
        frames=len(frames),
        lost=sum(sample.latency_ms is None for sample in frames),
        errors=dict(errors.most_common()),
        latency=times(np.inf if sample.latency_ms is None else sample.latency_ms for sample in frames),
        service=times(sample.service_ms for sample in frames if sample.service_ms is not None),
        lag=times(sample.lag_ms for sample in frames),
        busy=busy,
    )


def times(values: Iterable[float]) -> Times:
    """Percentiles, each of them a value that was measured: the smallest one that so many percent do not exceed. Infinite for no values."""
    measured = np.fromiter(values, dtype=float)
    found = np.percentile(measured, PERCENTILES, method="inverted_cdf").tolist() if measured.size else [np.inf] * len(PERCENTILES)
    return {"max" if percent == 100 else f"p{percent}": value for percent, value in zip(PERCENTILES, found, strict=True)}


@dataclass(frozen=True)
class Limits:
    """What a window is judged by: p99 of latency and of the generator's lag, in milliseconds."""

    objective_ms: float
    lag_ms: float


@dataclass(frozen=True)
class Verdict:
    """What a window means, why, and whether that is so clear that it need not be asked again."""

    outcome: Outcome
    reason: str
    clear: bool = False


def judge(found: Figures, limits: Limits) -> Verdict:
    """Void comes first: whatever a late generator measured, nobody knows whose time it was."""
    lag, latency, objective = found.lag["p99"], found.latency["p99"], limits.objective_ms
    if found.frames == 0:
        return Verdict("void", "no frame was due")
    if lag > limits.lag_ms:
        return Verdict("void", f"the generator was late itself: p99 of its lag {lag:.1f} ms, and {limits.lag_ms:g} ms are allowed")
    if found.busy > MOST_BUSY:
        return Verdict("void", f"a process of the generator used {found.busy:.0%} of a CPU, and {MOST_BUSY:.0%} are allowed")
    if found.errors:
        error, count = next(iter(found.errors.items()))
        return Verdict("failed", f"{found.lost} of {found.frames} frames lost; {count} x {error}", clear=found.lost > 0.01 * found.frames)
    if latency > objective:
        return Verdict("failed", f"p99 {latency:.0f} ms, objective {objective:g} ms", clear=latency > 2 * objective)
    return Verdict("passed", f"p99 {latency:.0f} ms, objective {objective:g} ms", clear=latency < objective / 2)

"""How long engines take, by profile, and what frame rate that allows."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np

from masklet.contract import engines
from masklet.families import Family
from masklet_build.check.calls import Call, calls, compose
from masklet_build.check.subject import Subject
from masklet_build.export.fixtures.fixtures import Fixtures, Row
from masklet_build.in_process import Stages
from masklet_build.models.samples import Sizes

RUNS = 20
_WARM_UP = 3
OBJECTS = (1, 4, 8)  # of one video, for the estimate of frames per second


@dataclass(frozen=True)
class Timed:
    """Milliseconds of one call: the median, and the quarters below and above which the fastest and the slowest lie."""

    engine: str
    profile: str
    sizes: Sizes
    median: float
    fast: float
    slow: float


def time_engines(subject: Subject, fixtures: Fixtures, runs: int, progress: Callable[[str], None]) -> list[Timed]:
    """The largest call of every profile."""
    timed = []
    for model in engines(subject.variant):
        progress(f"timing {model.name}")
        largest: dict[str, Call] = {}
        for call in calls(fixtures, model, subject.table[model.name]):
            if call.profile not in largest or _work(call) >= _work(largest[call.profile]):
                largest[call.profile] = call
        timed += [time_call(subject.stages, call, runs) for call in largest.values()]
    return timed


def _work(call: Call) -> int:
    return sum(array.nbytes for array in call.inputs.values())


def time_call(stages: Stages, call: Call, runs: int) -> Timed:
    """Runs a call again and again, after a few that do not count: on a GPU between CUDA events, without copies, else by the clock."""
    on_device = getattr(stages, "time", None)  # of masklet_build.engines.runtime.PlanStages
    for _ in range(_WARM_UP):
        stages.call(call.engine, call.inputs)
    spent = on_device(call.engine, call.inputs, runs) if on_device else [_wall(stages, call) for _ in range(runs)]
    fast, median, slow = np.percentile(spent, [25, 50, 75])
    return Timed(call.engine, call.profile, call.sizes, float(median), float(fast), float(slow))


def _wall(stages: Stages, call: Call) -> float:
    begin = time.perf_counter()
    stages.call(call.engine, call.inputs)
    return 1000 * (time.perf_counter() - begin)


def frame_rates(subject: Subject, fixtures: Fixtures, runs: int) -> dict[int, float]:
    """Objects of one video -> frames per second that the engines allow, late in the video: every engine that a tracked frame meets, one after the
    other, in as few calls as the plans take. What the server does beside them comes on top."""
    models = [model for model in engines(subject.variant) if model.name != "mask_prompt"]  # all that a tracked frame meets
    rates = {}
    for objects in OBJECTS:
        batch = min(objects, subject.objects_per_call)
        spent = 0.0
        for model in models:
            row = _steady(fixtures, model.name, subject.variant.family)
            count = 1 if model.batched else batch
            call = compose(fixtures, model, "estimate", replace(row.sizes, B=count), [row])
            spent += time_call(subject.stages, call, runs).median * (1 if model.batched else math.ceil(objects / batch))
        rates[objects] = 1000 / spent
    return rates


def _steady(fixtures: Fixtures, engine: str, family: Family) -> Row:
    """A row like those of a tracked frame late in a video: all memories of one prompted frame; no points, or one, which are two tokens."""
    wanted: Mapping[str, Mapping[str, int]] = {
        "memory_attention": {"F": family.num_memories, "P": family.num_pointers},
        "mask_decoder": {"N": 2},
        "memory_encoder": {"R": 1},
    }
    return next(row for row in fixtures.of(engine) if all(getattr(row.sizes, symbol) == size for symbol, size in wanted.get(engine, {}).items()))

"""Each promise that a run of hostile requests can break is found by itself, and says what it was."""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from typing import Any

import pytest

from benchmarks.fuzz.honest import Witness
from benchmarks.fuzz.messages import Raw
from benchmarks.fuzz.registry import World
from benchmarks.fuzz.run import ALLOWED_GROWTH, Outcome, Plan
from benchmarks.fuzz.tally import SILENT, Tally
from benchmarks.fuzz.twins import Twins

PLAN = Plan(requests=10, warm_up=5, minutes=1, workers=1, fps=1, seed=1)


def held() -> Outcome:
    tally = Tally(sent=15)
    twins = Twins([], random.Random(1), lambda: "", World(), tally)
    twins.compared = 1
    return Outcome(tally, [Witness(compared=3)], twins, 1.0, before={"x": 10}, after={"x": 10 + ALLOWED_GROWTH})


def test_nothing_is_found_where_all_held() -> None:
    assert held().faults(PLAN) == []


def answer(**tensors: bytes) -> Any:
    return {name: Raw("UINT8", (1, len(data)), data) for name, data in tensors.items()}


@pytest.mark.parametrize(
    ("breach", "says"),
    [
        (lambda one: one.restarts.append("restarting: postprocess died"), "restart: restarting: postprocess died"),
        (lambda one: setattr(one, "changed", True), "replaced"),
        (lambda one: one.doubts.append("no answer within 120 s"), "health: no answer"),
        (lambda one: one.witnesses[0].wrong.append("film 1, frame 2"), "otherwise than alone: film 1, frame 2"),
        (lambda one: one.witnesses[0].failed.append("VideoLost"), "honest video failed: VideoLost"),
        (lambda one: setattr(one.witnesses[0], "compared", 0), "never answered"),
        (lambda one: one.after.update(x=11 + ALLOWED_GROWTH), "memory grew by 20.0 MB"),
        (lambda one: setattr(one.tally, "sent", 14), "only 14 of 15 requests"),
        (lambda one: setattr(one.twins, "compared", 0), "never compared"),
        (lambda one: setattr(one, "mistakes", 2.0), "the bank found 2 mistakes"),
        (lambda one: one.tally.came("frames: x", SILENT), "1 requests without an answer"),
        (lambda one: one.twins.compare(answer(MASKS=b"1"), answer(MASKS=b"2"), ["frames: x (BAD_FRAME)"]), r"after frames: x .*MASKS"),
        (lambda one: one.twins.compare(answer(MASKS=b"1"), "MASKLET_VIDEO_LOST: gone", []), "MASKLET_VIDEO_LOST"),
    ],
)
def test_each_breach_is_found(breach: Callable[[Outcome], object], says: str) -> None:
    one = held()
    breach(one)
    (fault,) = one.faults(PLAN)
    assert re.search(says, fault), fault

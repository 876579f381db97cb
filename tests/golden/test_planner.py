"""How official calls become what a live video can say, and what is left out."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.golden import scenarios
from tests.golden.compare import Comparison
from tests.golden.replay import AFTER_LATE, AHEAD, DISCARDED, FORGOTTEN, OTHER_OBJECTS, Planner
from tests.golden.scenarios import GoldenError, Scenario
from tests.golden.verify import Report, table

DATA = Path(__file__).parents[1] / "data" / "efficienttam_ti_512_synthetic"


def scenario(steps: list[dict[str, Any]], records: list[tuple[str, int, int, int]], frames: int = 40) -> Scenario:
    """A scenario without arrays; records are (kind, step, frame, object), keyed by their place."""
    meta = {
        "steps": steps,
        "clip": {"frames": frames, "width": 8, "height": 6},
        "low_size": 8,
        "records": [
            {"key": f"r{place}", "kind": kind, "step": step, "frame": frame, "object": number, "object_score": 1.0}
            for place, (kind, step, frame, number) in enumerate(records)
        ],
    }
    return Scenario(Path(), "made", meta, {})


def click(frame: int, number: int) -> dict[str, Any]:
    return {"op": "points", "frame": frame, "object": number, "points": [[1, 1]], "labels": [1], "clear_old_points": True}


def propagate(start: int, count: int | None, *, reverse: bool = False) -> dict[str, Any]:
    return {"op": "propagate", "start": start, "max_frames": count, "reverse": reverse}


def requests(play) -> list[tuple]:
    return [(request.frame, dict(request.options), tuple(request.prompts), dict(request.expected)) for request in play]


def test_prompts_come_ahead_of_tracking():
    made = scenario([click(0, 1), propagate(0, 1)], [("prompt", 0, 0, 1), ("track_prompted", 1, 0, 1), ("track", 1, 1, 1)])
    assert requests(Planner(made).main) == [
        (0, {"track": False, "frame_index": 0}, (0,), {1: "r0"}),
        (0, {"frame_index": 0, "reverse": False}, (), {1: "r1"}),
        (1, {"frame_index": 1, "reverse": False}, (), {1: "r2"}),
    ]


def test_a_correction_of_the_newest_frame_is_a_refinement():
    made = scenario(
        [click(0, 1), propagate(0, 1), click(1, 1)], [("prompt", 0, 0, 1), ("track_prompted", 1, 0, 1), ("track", 1, 1, 1), ("prompt", 2, 1, 1)]
    )
    assert requests(Planner(made).main)[-1] == (1, {"refine": True}, (2,), {1: "r3"})


def test_a_correction_further_back_gets_a_play_of_its_own_and_ends_the_object_in_the_main_one():
    records = [("prompt", 0, 0, 1), *(("track", 1, frame, 1) for frame in range(4)), ("prompt", 2, 1, 1), ("track", 3, 4, 1)]
    planner = Planner(scenario([click(0, 1), propagate(0, 3), click(1, 1), propagate(4, 0)], records))
    main, late = planner.plays
    assert [request.frame for request in late] == [0, 0, 1, 1]
    assert requests(late)[-1] == (1, {"refine": True}, (2,), {1: "r5"})
    assert planner.left_out == {"r6": AFTER_LATE}
    assert main[-1].frame == 4


def test_a_correction_that_the_official_predictor_throws_away_is_not_sent():
    records = [("prompt", 0, 0, 1), ("track_prompted", 1, 0, 1), ("track", 1, 1, 1), ("prompt", 2, 0, 1), ("track", 3, 2, 1)]
    planner = Planner(scenario([click(0, 1), propagate(0, 1), click(0, 1), propagate(2, 0)], records))
    assert planner.left_out == {"r3": DISCARDED}
    assert requests(planner.main)[-1][3] == {1: "r4"}


def test_turning_round_is_allowed_while_the_memories_are_there():
    steps = [click(10, 1), propagate(10, 5), propagate(10, 3, reverse=True)]
    records = [("prompt", 0, 10, 1), *(("track", 1, frame, 1) for frame in range(10, 16)), *(("track", 2, frame, 1) for frame in range(10, 6, -1))]
    planner = Planner(scenario(steps, records))
    assert not planner.left_out
    turn = next(index for index, request in enumerate(planner.main) if request.options.get("reverse"))
    assert requests(planner.main)[turn - 1] == (10, {"track": False, "frame_index": 10}, (), {})


def test_turning_round_after_too_long_is_left_out():
    steps = [click(10, 1), propagate(10, 20), propagate(10, 3, reverse=True)]
    records = [("prompt", 0, 10, 1), *(("track", 1, frame, 1) for frame in range(10, 31)), *(("track", 2, frame, 1) for frame in range(10, 6, -1))]
    planner = Planner(scenario(steps, records))
    assert set(planner.left_out.values()) == {FORGOTTEN}
    assert len(planner.left_out) == 3  # frame 10 is prompted: its answer is given again


def test_memories_are_forgotten_sooner_than_pointers():
    steps = [click(10, 1), propagate(10, 8), propagate(10, 3, reverse=True)]  # at frame 18 the memory of 11 is gone, its pointer is not
    records = [("prompt", 0, 10, 1), *(("track", 1, frame, 1) for frame in range(10, 19)), *(("track", 2, frame, 1) for frame in range(10, 6, -1))]
    planner = Planner(scenario(steps, records))
    assert list(planner.left_out.values()) == [FORGOTTEN] * 3


def test_frames_before_the_first_prompt_are_left_out():
    records = [("prompt", 0, 2, 1), ("prompt", 1, 0, 2), *(("track", 2, frame, number) for frame in range(4) for number in (1, 2))]
    planner = Planner(scenario([click(2, 1), click(0, 2), propagate(0, 3)], records))
    assert sorted(planner.left_out.items()) == [("r2", AHEAD), ("r4", AHEAD)]


def test_every_record_is_planned_once_or_left_out():
    made = scenarios.load(DATA, "p1")
    planner = Planner(made)
    planned = [key for play in planner.plays for request in play for key in request.expected.values()]
    assert len(planned) == len(set(planned))
    assert set(planned) | set(planner.left_out) == {record.key for record in made.records}
    assert set(planner.left_out.values()) == {OTHER_OBJECTS}


def test_an_unknown_scenario_is_named_with_the_known_ones():
    with pytest.raises(GoldenError, match="p1"):
        scenarios.load(DATA, "p7")


def test_changed_frames_are_refused(tmp_path):
    made = scenarios.load(DATA, "p1")
    (tmp_path / "frames" / "synthetic").mkdir(parents=True)
    for index, frame in enumerate(made.frames()):
        (tmp_path / "frames" / "synthetic" / f"{index:05d}.jpg").write_bytes(frame + b"x" * (index == 3))
    with pytest.raises(GoldenError, match="not the one"):
        Scenario(tmp_path, made.name, made.meta, made.arrays).frames()


class Given:
    """An answer with one object that differs from a record as told."""

    def __init__(self, made: Scenario, key: str, *, logit: float = 0, score: float | None = None) -> None:
        record = next(record for record in made.records if record.key == key)
        self.object_ids = (record.object_id,)
        self.logits = made.low(key)[None] + np.float32(logit)
        self.masks = made.mask(key)[None]
        self.scores = np.array([record.score if score is None else score], np.float32)


def compared(*keys: str, at_least: int = 1, **changes: float) -> Comparison:
    made, comparison = scenarios.load(DATA, "p1"), Comparison(at_least)
    for key in keys:
        answer = Given(made, key, **changes)
        request = next(request for request in Planner(made).main if key in request.expected.values())
        comparison.add(made, [(replace(request, expected={answer.object_ids[0]: key}), answer)])
    return comparison


def key_of(kind: str, *, present: bool, frame: int) -> str:
    made = scenarios.load(DATA, "p1")
    return next(record.key for record in made.records if (record.kind, made.present(record.key), record.frame) == (kind, present, frame))


EARLY_KEY = key_of("track", present=True, frame=5)


@pytest.mark.parametrize(("changes", "within"), [({}, True), ({"logit": 0.09}, True), ({"logit": 0.11}, False), ({"score": -1.0}, False)])
def test_a_record_must_be_within_its_bar(changes, within):
    assert compared(EARLY_KEY, **changes).within is within


def test_an_answer_without_the_object_is_missing():
    made = scenarios.load(DATA, "p1")
    request = next(request for request in Planner(made).main if EARLY_KEY in request.expected.values())
    answer = Given(made, EARLY_KEY)
    answer.object_ids = ()
    comparison = Comparison()
    comparison.add(made, [(request, answer)])
    assert comparison.missing
    assert not comparison.within


def test_nothing_compared_is_not_within():
    assert not Comparison().within


def test_only_tracked_records_with_the_object_present_count():
    empty, prompted = key_of("track", present=False, frame=23), key_of("track_prompted", present=True, frame=0)
    comparison = compared(EARLY_KEY, empty, prompted)
    assert (len(comparison.differences), comparison.present, comparison.within) == (3, 1, True)
    assert not compared(empty, prompted).within


@pytest.mark.parametrize(("at_least", "within"), [(1, True), (2, False)])
def test_fewer_present_records_than_expected_are_outside_and_the_table_says_so(at_least, within):
    report = Report("p1", compared(EARLY_KEY, key_of("track", present=False, frame=23), at_least=at_least), Counter())
    assert report.comparison.within is within
    lines = table([report]).splitlines()
    assert lines[1].split()[2:5] == ["records", "tracked", "present"]
    assert lines[2].split()[:6] == ["p1", "early", "5-5", "1", "1", "1"]
    assert lines[3].split()[:5] == ["late", "23-23", "1", "1", "0"]
    assert ("too few: 1 tracked records have the object present, wanted are 2" in table([report])) is not within


@pytest.mark.parametrize(("logit", "within"), [(0.0, True), (0.11, False)])
def test_logits_recorded_at_every_second_place_are_compared_there(logit, within):
    made = scenarios.load(DATA, "p1")
    low = made.low(EARLY_KEY)
    thinned = Scenario(made.folder, made.name, {**made.meta, "low_step": 2}, {**made.arrays, f"{EARLY_KEY}_low": low[::2, ::2]})
    answer = Given(made, EARLY_KEY, logit=logit)
    request = next(request for request in Planner(made).main if EARLY_KEY in request.expected.values())
    comparison = Comparison()
    comparison.add(thinned, [(replace(request, expected={answer.object_ids[0]: EARLY_KEY}), answer)])
    assert comparison.within is within


@pytest.mark.parametrize(("early_frames", "within"), [(15, True), (29, False)])
def test_a_steady_scenario_is_held_to_the_narrow_bar_for_longer(early_frames, within):
    late = key_of("track", present=True, frame=23)
    made = scenarios.load(DATA, "p1")
    made = Scenario(made.folder, made.name, {**made.meta, "early_frames": early_frames}, made.arrays)
    request = next(request for request in Planner(made).main if late in request.expected.values())
    answer, comparison = Given(made, late, logit=0.11), Comparison()
    comparison.add(made, [(replace(request, expected={answer.object_ids[0]: late}), answer)])
    assert comparison.within is within

"""The program that soaks: what it draws from a seed, and what it makes of a record. Runs with real servers are in `test_soak_runs.py`."""

from __future__ import annotations

import re
from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pytest

from benchmarks.soak.__main__ import chosen, gateway_program
from benchmarks.soak.faults import KINDS
from benchmarks.soak.figures import TOTAL, Bars, breaches, cause_of, latencies, lives, recoveries, videos
from benchmarks.soak.record import LOST, WHOLE, Look, Record, Struck
from benchmarks.soak.run import Outcome
from benchmarks.soak.schedule import QUIET_S, schedule
from benchmarks.soak.scripts import Script, Step, scripts

MB = 1e6
FRAME = np.zeros((4, 4, 3), np.uint8)
SCRIPT = Script([Step(FRAME), Step(FRAME)], [(0, "a"), (1, "b")])


def test_a_seed_says_when_which_fault_strikes() -> None:
    one = schedule(7, 30, list(KINDS), 10)
    assert one == schedule(7, 30, list(KINDS), 10)
    assert one != schedule(8, 30, list(KINDS), 10)


def test_faults_come_in_rounds_of_all_kinds_and_leave_the_ends_quiet() -> None:
    planned = schedule(7, 60, list(KINDS), 10)
    assert len(planned) > 100
    for first in range(0, len(planned) - len(KINDS), len(KINDS)):
        assert {one.kind for one in planned[first : first + len(KINDS)]} == set(KINDS)
    assert planned[0].at_s == QUIET_S
    assert all(one.at_s + one.seconds <= 3600 - QUIET_S for one in planned)
    assert all(one.at_s + one.seconds <= other.at_s for one, other in pairwise(planned))
    stopped = [one.seconds for one in planned if one.kind == "stub stopped"]
    assert min(stopped) >= 0.3
    assert max(stopped) <= 3


def test_only_the_faults_that_are_named_strike() -> None:
    assert {one.kind for one in schedule(1, 10, ["drain", "burst"], 5)} == {"drain", "burst"}
    assert schedule(1, 10, [], 5) == []
    assert chosen(["all"]) == list(KINDS)
    assert chosen(["none"]) == []
    with pytest.raises(ValueError, match=r"no fault 'drian'. There are: .*drain"):
        chosen(["drain", "drian"])


def test_a_gateway_that_is_not_there_is_named() -> None:
    with pytest.raises(ValueError, match=r"there is no nothing-of-this-name beside .* --gateway"):
        gateway_program("nothing-of-this-name")


def test_a_seed_says_what_videos_do() -> None:
    one, same, other = (scripts(seed, 6, 60) for seed in (3, 3, 4))

    def told(some: list[Script]) -> list[object]:
        return [(step.removals, step.prompts, step.refine) for script in some for step in script.steps]

    assert told(one) == told(same)
    assert told(one) != told(other)
    assert all(len(script.steps) >= 60 for script in one)


def test_videos_prompt_refine_add_and_remove_objects_that_are_there() -> None:
    added = removed = refined = 0
    for script in scripts(3, 6, 90):
        live = {prompt["object_id"] for prompt in script.steps[0].prompts}
        assert live
        for step in script.steps[1:]:
            assert {*step.removals} <= live
            live -= {*step.removals}
            named = {prompt["object_id"] for prompt in step.prompts}
            assert not named & {*step.removals}
            assert not step.refine or named <= live
            added, removed, refined = added + len(named - live), removed + len(step.removals), refined + step.refine
            live |= named
            assert live
    assert min(added, removed, refined) > 0


def begun(*, resilient: bool = True) -> Outcome:
    """A record with one video of two frames, which has its first answer."""
    record = Record([SCRIPT])
    record.hear("p", {"what": "begin", "video": 0, "at": 1.0, "resilient": resilient, "script": 0, "wanted": 2})
    answer(record, 0, "a", 2.0)
    return Outcome(record, 0.0, 100.0)


def answer(record: Record, index: int, digest: str, at: float, waited: float = 0.1) -> None:
    record.hear("p", {"what": "answer", "video": 0, "at": at, "index": index, "digest": digest, "waited": waited})


def end(outcome: Outcome, how: str, error: str = "", at: float = 3.0) -> None:
    outcome.record.hear("p", {"what": "end", "video": 0, "at": at, "how": how, "error": error, "interruptions": []})


def held() -> Outcome:
    outcome = begun()
    answer(outcome.record, 1, "b", 2.5)
    end(outcome, WHOLE)
    return outcome


def grown(by: float, minutes: float = 30, first: float = 50 * MB) -> list[Look]:
    """A server whose memory settles by `first` bytes in its first minute, and then grows in a straight line by so much until its end."""
    seconds = np.arange(0, 60 * minutes, 5.0)
    way = 300 * MB + first * np.minimum(seconds / 60, 1) + by * seconds / seconds[-1]
    return [Look(at, "x, process 1", {"tritonserver (1)": int(size), "shared memory": 1000}) for at, size in zip(seconds, way, strict=True)]


def test_nothing_is_found_where_all_held() -> None:
    assert breaches(held(), Bars()) == []


@pytest.mark.parametrize(
    ("make", "breach", "says"),
    [
        (begun, lambda one: (answer(one.record, 1, "c", 2.5), end(one, WHOLE)), r"wrong answer: p 0, script 0, step 1: \(1, 'c'\), alone \(1, 'b'\)"),
        (begun, lambda one: (answer(one.record, 2, "b", 2.5), end(one, WHOLE)), r"wrong answer: .*\(2, 'b'\), alone \(1, 'b'\)"),
        (begun, lambda one: end(one, LOST, "VideoLost: gone"), "resilient video was lost: p 0, 1 frames of 2: VideoLost: gone"),
        (begun, lambda one: end(one, WHOLE), "ended before its end: p 0"),
        (begun, lambda one: None, "resilient video was lost: p 0, 0 frames"),  # it neither goes on nor ends
        (
            lambda: begun(resilient=False),
            lambda one: end(one, LOST, "VideoLost: gone"),
            "plain video was lost and nothing had happened: p 0: VideoLost",
        ),
        (held, lambda one: one.record.broken.append("threads was not at its end"), "threads was not at its end"),
        (held, lambda one: one.record.left_behind.update(lasting=2), "lasting still held 2 videos"),
        (held, lambda one: one.record.mistakes.update({"lasting, process 1": 2.0}), "the bank found 2 mistakes"),
        (held, lambda one: one.record.looks.extend(grown(28 * MB)), r"x, process 1 grew by 21\.0 MB"),
        (held, lambda one: one.record.waits.clear(), "no frame was answered"),
    ],
)
def test_each_breach_is_found_alone(make: Callable[[], Outcome], breach: Callable[[Outcome], object], says: str) -> None:
    outcome = make()
    breach(outcome)
    (found,) = breaches(outcome, Bars())
    assert re.search(says, found), found


def test_a_plain_video_may_be_lost_after_a_fault_and_is_counted_by_cause() -> None:
    outcome = begun(resilient=False)
    outcome.record.struck.append(Struck("server killed", "mortal", 1.5, 1.5, ""))
    outcome.record.struck.append(Struck("hostile", "gateway", 2.0, 2.5, ""))
    end(outcome, LOST, "VideoLost: gone")
    assert breaches(outcome, Bars()) == []
    found = videos(outcome.record, resilient=False)
    assert found["lost_by_cause"] == {"server killed: VideoLost": 1}
    assert found["frames_lost"] == 1


def test_many_wrong_answers_are_all_counted_and_some_are_told() -> None:
    outcome = held()
    for _ in range(100):
        outcome.record.compare("p 1", 0, 0, (0, "z"))
    assert outcome.record.wrong_count == 100
    assert breaches(outcome, Bars())[-1] == "95 further wrong answers"


def test_the_videos_of_a_client_that_was_killed_are_not_lost() -> None:
    outcome = begun()
    outcome.record.killed("p", 3.0)
    assert breaches(outcome, Bars()) == []
    assert videos(outcome.record, resilient=True)["ended"] == {"killed with its client": 1}


@pytest.mark.parametrize(("looks", "growth", "judged"), [(grown(0), 0, True), (grown(40 * MB), 30, True), (grown(40 * MB, minutes=8), 30, False)])
def test_growth_is_that_of_the_line_after_the_first_quarter(looks: list[Look], growth: float, judged: bool) -> None:
    found = lives(looks, Bars())["x, process 1"]
    assert found["growth"][TOTAL] / MB == pytest.approx(growth, abs=0.2)
    assert found["growth"]["tritonserver"] == pytest.approx(found["growth"][TOTAL], abs=1)
    assert found["growth"]["shared memory"] == 0
    assert found["judged"] == judged
    outcome = held()
    outcome.record.looks += looks
    assert len(breaches(outcome, Bars())) == (judged and growth > 20)


def test_a_life_ends_with_its_process() -> None:
    before, after = grown(0), grown(0)
    looks = [*before, *(Look(look.at + 2000, "x, process 2", look.sizes) for look in after)]
    assert [round(each["seconds"]) for each in lives(looks, Bars()).values()] == [1795, 1795]


def test_what_was_lost_is_put_down_to_the_last_fault_that_breaks_streams() -> None:
    killed, drained, hostile = (Struck(kind, "x", at, at + 5, "") for kind, at in (("server killed", 10), ("drain", 20), ("hostile", 30)))
    struck = [killed, drained, hostile]
    assert cause_of(struck, 9) is None
    assert cause_of(struck, 12) is killed
    assert cause_of(struck, 32) is killed
    assert cause_of(struck, 32, draining=True) is drained
    assert cause_of(struck, 200) is hostile, "long after: whatever came last"


def test_latencies_are_told_apart_by_whether_a_fault_was_felt() -> None:
    record = Record([SCRIPT])
    record.struck.append(Struck("drain", "x", 100, 110, ""))
    record.waits += [(99.0, 0.1), (101.0, 2.0), (124.0, 0.3), (126.0, 0.2), (102.0, 30.0)]
    found = latencies(record)
    assert (found["quiet"]["count"], found["quiet"]["longest"]) == (2, pytest.approx(0.2))
    assert (found["faulty"]["count"], found["faulty"]["longest"]) == (3, pytest.approx(30))


def test_recovery_counts_from_the_fault_to_the_next_new_answer_and_to_the_word_of_the_supervisor() -> None:
    outcome = held()
    outcome.record.struck += [Struck("server killed", "mortal", 10, 10, "Triton killed"), Struck("burst", "gateway", 12, 14, "")]
    (video,) = outcome.record.videos.values()
    video.interruptions = [{"cause": "broken", "at": 13.0, "seconds": 2.5}]
    outcome.said = {"mortal": [(1.0, "ready: gRPC"), (10.5, "restarting"), (18.0, "ready again: gRPC"), (50.0, "ready again: gRPC")]}
    found = recoveries(outcome)
    assert found["server killed"]["videos_s"]["median"] == pytest.approx(5.5)
    assert found["server killed"]["server_s"]["longest"] == pytest.approx(8)
    assert found["server killed"]["server_s"]["count"] == 1
    assert found["burst"]["videos_s"] is None

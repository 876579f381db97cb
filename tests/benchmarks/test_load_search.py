"""The search finds the capacity that is there, in spite of noise and void windows, and ends; and the course of a test around it."""

from __future__ import annotations

import random

import pytest

from benchmarks.load.figures import Limits, Verdict
from benchmarks.load.plan import GaveUp, Level, Plan, Search
from benchmarks.load.schedule import Batch, Sample
from benchmarks.load.trials import Book, Times, Trials

PASSED, FAILED, VOID = (Verdict(outcome, "because") for outcome in ("passed", "failed", "void"))
CLEAR_PASS, CLEAR_FAIL = Verdict("passed", "because", clear=True), Verdict("failed", "because", clear=True)


def searched(search: Search, verdict) -> list[int]:
    """The levels tried, each judged by `verdict(level)`."""
    tried = []
    while (level := search.level()) is not None:
        tried.append(level)
        search.record(verdict(level))
        assert len(tried) < 100
    return tried


@pytest.mark.parametrize("capacity", range(1, 41))
def test_a_planted_capacity_is_found_exactly(capacity: int) -> None:
    search = Search(most=64)
    tried = searched(search, lambda level: PASSED if level <= capacity else FAILED)
    assert search.good == capacity
    assert len(tried) <= 2 * 2 * (1 + capacity.bit_length())


def test_a_large_capacity_is_found_to_five_percent() -> None:
    search = Search(most=4096)
    searched(search, lambda level: PASSED if level <= 1000 else FAILED)
    assert 0.95 * 1000 <= search.good <= 1000


def test_one_window_in_eight_may_be_wrong_near_the_capacity() -> None:
    """Majorities make the error 4 % where it was 12 %; without them half of these searches would go astray."""
    found = []
    for seed in range(300):
        dice, search = random.Random(seed), Search(most=64)

        def noisy(level: int, dice: random.Random = dice) -> Verdict:
            if level <= 6 or level >= 18:
                return CLEAR_PASS if level <= 6 else CLEAR_FAIL
            return PASSED if (level <= 12) != (dice.random() < 0.125) else FAILED

        searched(search, noisy)
        found.append(search.good)
    assert sum(good == 12 for good in found) / len(found) > 0.8


def test_clear_verdicts_are_not_asked_for_twice() -> None:
    assert searched(Search(most=64), lambda level: CLEAR_PASS if level <= 5 else CLEAR_FAIL) == [1, 2, 4, 8, 6, 5]


def test_the_search_tries_no_more_videos_than_it_may() -> None:
    search = Search(most=5)
    assert searched(search, lambda level: CLEAR_PASS) == [1, 2, 4, 5]
    assert search.good == 5


def levels(plan: Plan, verdict) -> list[Level]:
    tried = []
    while level := plan.next():
        tried.append(level)
        plan.record(verdict(level))
        assert len(tried) < 100
    return tried


def test_three_runs_follow_at_80_percent_of_the_capacity_whether_they_pass_or_fail() -> None:
    plan = Plan(3, None, Search(64))
    tried = levels(plan, lambda level: CLEAR_PASS if level.videos <= 10 and level.purpose == "search" else CLEAR_FAIL)
    assert plan.capacity == 10
    assert [level for level in tried if level.purpose == "run"] == [Level("run", 8)] * 3


def test_a_given_number_of_videos_is_measured_without_a_search() -> None:
    assert levels(Plan(2, 7, Search(64)), lambda level: PASSED) == [Level("run", 7)] * 2


def test_without_room_for_one_video_there_are_no_runs() -> None:
    plan = Plan(3, None, Search(64))
    assert levels(plan, lambda level: FAILED) == [Level("search", 1)] * 2
    assert plan.capacity == 0


def test_void_windows_are_repeated_and_count_neither_as_votes_nor_as_runs() -> None:
    verdicts = iter([VOID, PASSED, VOID, VOID, PASSED])
    assert levels(Plan(2, 7, Search(64)), lambda level: next(verdicts)) == [Level("run", 7)] * 5
    plan, seen = Plan(1, None, Search(4)), []

    def every_other_void(level: Level) -> Verdict:
        seen.append(level)
        return VOID if len(seen) % 2 else (PASSED if level.videos <= 3 else FAILED)

    levels(plan, every_other_void)
    assert plan.capacity == 3


def test_a_generator_that_is_always_late_ends_the_test() -> None:
    plan = Plan(3, None, Search(64))
    with pytest.raises(GaveUp, match="3 windows in a row were void; the last: because"):
        levels(plan, lambda level: VOID)


class World:
    """Cameras of 10 fps and a server that answers within 20 ms, up to a capacity; a clock of one tick a second.

    late_ms  the generator's lag
    cold_s   how long the server is slow after every change
    longest_s  of a run
    """

    def __init__(
        self, plan: Plan, capacity: int = 5, late_ms: float = 1.0, answer_after_s: float = 0.0, cold_s: float = 0.0, longest_s: float = 20.0
    ) -> None:
        self.book, self.said, self.sources = Book(), [], {"a"}
        self.trials = Trials(plan, Limits(200, 10), Times(10, 20, longest_s), book=self.book, say=self.said.append)
        self.capacity, self.late_ms, self.answer_after_s, self.cold_s = capacity, late_ms, answer_after_s, cold_s
        self.now, self.live, self.changed = 1000.0, 0, 1000.0

    def run(self, seconds: int = 100_000) -> None:
        for _ in range(seconds):
            wanted = self.trials.tick(self.now, self.live, self.sources)
            if wanted is None:
                return
            self.changed = self.changed if wanted == self.live else self.now
            self.live = wanted  # from the next second on
            self.now += 1
            for source in self.sources:
                self.book.add(source, self._batch())
        raise AssertionError("the test did not end")

    def _batch(self) -> Batch:
        until = self.now - self.answer_after_s
        latency = 20.0 if self.live <= self.capacity and self.now > self.changed + self.cold_s else 1000.0
        samples = [Sample("frame", until - 1 + number / 10, self.late_ms, latency, latency, None) for number in range(10) for _ in range(self.live)]
        return Batch(samples, self.now, until, self.live, busy=0.1)


def test_a_whole_test_finds_the_capacity_and_measures_below_it() -> None:
    world = World(Plan(3, None, Search(64)), capacity=10)
    world.run()
    assert (world.trials.capacity, world.trials.gave_up) == (10, None)
    runs = [trial for trial in world.trials.done if trial.level.purpose == "run"]
    assert [(trial.level.videos, trial.figures.frames, trial.verdict.outcome) for trial in runs] == [(8, 8 * 20 * 10, "passed")] * 3


def test_a_window_waits_for_answers_that_come_after_its_end() -> None:
    world = World(Plan(1, 3, Search(64)), answer_after_s=5.0)
    world.run()
    assert world.trials.done[0].figures.frames == 3 * 20 * 10


@pytest.mark.parametrize("answer_after_s", [0.0, 5.0])
def test_a_run_lasts_until_a_thousand_frames_were_due_and_a_search_does_not(answer_after_s: float) -> None:
    world = World(Plan(2, None, Search(64)), capacity=4, longest_s=100.0, answer_after_s=answer_after_s)
    world.run()
    frames = [(trial.level.purpose, trial.level.videos, trial.figures.frames) for trial in world.trials.done]
    assert {count for purpose, videos, count in frames if purpose == "search" and videos == 4} == {4 * 20 * 10}
    runs = [(videos, count) for purpose, videos, count in frames if purpose == "run"]
    assert [videos for videos, _ in runs] == [3, 3]
    assert all(1000 <= count <= 1000 + 30 * (3 + answer_after_s) for _, count in runs), "30 a second, known when they are answered"


def test_a_run_ends_when_its_time_is_over() -> None:
    world = World(Plan(1, 3, Search(64)), longest_s=25.0)
    world.run()
    assert world.trials.done[0].figures.frames == 3 * 25 * 10


def test_what_is_slow_only_while_it_warms_up_is_not_measured() -> None:
    world = World(Plan(1, 3, Search(64)), cold_s=9.0)
    world.run()
    assert world.trials.done[0].figures.latency["max"] == 20.0


def test_a_late_generator_voids_a_whole_test() -> None:
    world = World(Plan(3, None, Search(64)), late_ms=11.0)
    world.run()
    assert (world.trials.capacity, [trial.verdict.outcome for trial in world.trials.done]) == (None, ["void"] * 3)
    assert "the generator was late itself" in world.trials.gave_up


def test_a_process_of_the_generator_that_goes_away_voids_its_window() -> None:
    world = World(Plan(1, 3, Search(64)))
    world.sources = {"a", "b"}
    world.trials._say = lambda line: world.sources.discard("b") if line.endswith("measuring for 20 s") else None
    world.run()
    assert [trial.verdict.reason for trial in world.trials.done[:2]] == ["a process of the generator came or went", "p99 20 ms, objective 200 ms"]


def test_a_level_does_not_begin_before_all_is_quiet() -> None:
    book, plan = Book(), Plan(1, 3, Search(64))
    trials = Trials(plan, Limits(200, 10), Times(1, 1, 1), book=book, say=lambda line: None)
    for source in ("a", "b"):
        book.add(source, Batch([], at=-1.0, until=-1.0, pending=0, busy=0))
    assert trials.tick(0.0, 0, {"a", "b"}) == 0, "what was told before does not count"
    book.add("a", Batch([], at=1.0, until=1.0, pending=0, busy=0))
    assert trials.tick(1.0, 0, {"a", "b"}) == 0, "b has not told yet"
    book.add("b", Batch([], at=2.0, until=0.5, pending=2, busy=0))
    assert trials.tick(2.0, 0, {"a", "b"}) == 0, "two frames of b are on their way"
    book.add("b", Batch([], at=3.0, until=3.0, pending=0, busy=0))
    assert trials.tick(3.0, 1, {"a", "b"}) == 0, "a camera still runs"
    assert trials.tick(4.0, 0, {"a", "b"}) == 3

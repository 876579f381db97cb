"""The signs of life of a python model: what its heart says, once a second for real, and here as often as tests need it."""

from __future__ import annotations

import queue
import time
from collections.abc import Iterator

import pytest

import masklet.stage
from masklet.stage import Stage


@pytest.fixture
def beats(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Stage, queue.Queue[tuple[float, float]]]]:
    """A stage whose heart beats fast, and what it says: for how long work has not got on, and the longest that it ever took to."""
    monkeypatch.setattr(masklet.stage, "BEAT_S", 0.02)
    said = queue.Queue[tuple[float, float]]()
    stage = Stage("child", lambda counter: None, lambda work, longest: said.put((work, longest)))
    yield stage, said
    stage.close()


def next_beat(said: queue.Queue[tuple[float, float]]) -> tuple[float, float]:
    """One that begins after now."""
    while not said.empty():
        said.get()
    said.get(timeout=60)
    return said.get(timeout=60)


def test_a_stage_at_rest_beats_and_says_that_nothing_is_under_way(beats) -> None:
    stage, said = beats
    assert next_beat(said) == (0, 0)
    with stage.working():
        pass
    work, longest = next_beat(said)
    assert work == 0 < longest


def test_beats_say_for_how_long_work_has_not_got_on_and_the_longest_step_of_all(beats) -> None:
    """An execution of many steps is no long one."""
    stage, said = beats
    begin = time.monotonic()
    with stage.working():
        while (work := next_beat(said)[0]) < 0.3:
            assert 0 < work <= time.monotonic() - begin
        stage.got_on()
        first_step = time.monotonic() - begin
        again = time.monotonic()
        work, longest = next_beat(said)
        assert 0 <= work <= time.monotonic() - again
        assert 0.3 <= longest <= first_step
        stage.got_on()
    assert next_beat(said)[1] < time.monotonic() - begin, "the steps are not added up"


def test_no_beat_comes_after_the_end(beats) -> None:
    stage, said = beats
    next_beat(said)
    stage.close()
    while not said.empty():
        said.get()
    time.sleep(0.1)
    assert said.empty()

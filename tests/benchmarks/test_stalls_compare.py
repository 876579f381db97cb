"""A round of stalls is good only where every answer is there, in its place, with the bits of the video alone."""

from __future__ import annotations

import pytest

from benchmarks.films import Played
from benchmarks.stalls import Round, compare
from masklet.connection.interruption import Interruption

ALONE = [Played([(0, "a"), (1, "b"), (2, "c")])]


def compared(*played: Played) -> Round:
    done = Round("memory_bank_0_0", 1.2)
    compare(done, list(played), ALONE)
    return done


def test_the_answers_of_the_video_alone_are_good() -> None:
    done = compared(Played([(0, "a"), (1, "b"), (2, "c")]))
    assert done.good
    assert (done.frames, done.answered) == (3, 3)


@pytest.mark.parametrize("answers", [[(0, "a"), (1, "a"), (2, "c")], [(0, "a"), (2, "c"), (1, "b")], [(0, "a"), (1, "b"), (1, "c")]])
def test_another_answer_is_wrong(answers: list[tuple[int, str]]) -> None:
    done = compared(Played(answers))
    assert not done.good
    assert "film 0, frame" in done.wrong[0]


def test_a_video_that_ended_early_is_not_good_but_not_wrong() -> None:
    done = compared(Played([(0, "a")], error="VideoLost: gone"))
    assert not done.good
    assert (done.wrong, done.errors, done.answered) == ([], ["VideoLost: gone"], 1)


def test_standing_still_is_waiting_and_coming_back() -> None:
    moved = Interruption("broken", "", at=0.0, waited_s=1.5, seconds=2.0, frames_replayed=3, attempts=1, from_url="x", to_url="x")
    assert compared(Played(list(ALONE[0].answers), interruptions=[moved])).still_s == [3.5]

"""What a history keeps, for how long, and what it takes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from masklet import BadFrameIndex
from masklet.connection import operations
from masklet.connection.operations import Operation, Operations
from masklet.history.log import EVERY, EVERY_OLD, OLD_S, Kept, Log
from masklet.history.pace import Pace
from masklet.results import read
from masklet.testing import Request, answer
from masklet.wire import Options

STATE = 1000  # bytes of a snapshot
FRAME = 100  # of a frame
FPS = 10.0


class Film:
    """A history that is fed with so many frames, 10 a second."""

    def __init__(self, seconds: float, limit: int = 10**9) -> None:
        self.now, self.count = 0.0, 0
        self.log = Log(seconds, limit, lambda: self.now)

    def ask(self) -> Kept:
        made = Operations().frame(bytes(FRAME))
        kept = Kept(made if not self.log.due else with_snapshot(made), self.now)
        self.log.add(kept)
        return kept

    def answered(self, kept: Kept) -> None:
        self.log.answered(kept, result(kept.operation, self.count))
        self.count += 1

    def go(self, frames: int) -> Film:
        for _ in range(frames):
            self.answered(self.ask())
            self.now += 1 / FPS
        return self

    @property
    def states(self) -> list[int]:
        """Frames after which there is a snapshot."""
        return [kept.frame_index for kept in self.log if kept.state is not None]

    @property
    def oldest(self) -> int:
        return next(iter(self.log)).frame_index


def with_snapshot(operation: Operation) -> Operation:
    return replace(operation, options=replace(operation.options, snapshot=True))


def result(operation: Operation, index: int):
    request = Request(1, False, False, {}, operation.options.parameters())
    made = answer(request, {}, index, snapshot=bytes(STATE)).tensors
    return read(made, Options.parse(request.parameters), None)


def test_snapshots_are_asked_for_with_every_eighth_frame_and_thinned_when_they_are_old():
    film = Film(1e6).go(200)
    new = [index for index in film.states if (199 - index) / FPS < OLD_S]
    assert new == [index for index in range(200) if (index + 1) % EVERY == 0 and index > 199 - OLD_S * FPS]
    old = [index for index in film.states if index not in new]
    assert old == list(range(EVERY_OLD - 1, 199 - int(OLD_S * FPS), EVERY_OLD))


def test_what_is_older_than_the_history_goes_once_a_snapshot_stands_for_it():
    film = Film(10).go(500)
    assert 400 - EVERY_OLD <= film.oldest <= 400, "10 s are reached, and no more than to the snapshot before"
    assert film.log.find(film.oldest).frame_index == film.oldest
    with pytest.raises(BadFrameIndex, match=f"frame {film.oldest - 1} cannot be reached: the oldest frame that can is {film.oldest}, the newest 499"):
        film.log.find(film.oldest - 1)


@pytest.mark.parametrize("limit", [5 * STATE, 40 * STATE])
def test_a_history_stays_within_its_bytes(limit):
    film = Film(1e6, limit)
    for _ in range(300):
        film.go(1)
        held = sum(kept.nbytes for kept in film.log) + len(film.log._base or b"")
        assert held == film.log.nbytes <= limit
    reached = [kept.frame_index for kept in film.log]
    assert reached[-1] == 299
    assert len(reached) > EVERY, "and keeps what fits"


def test_a_history_that_is_too_small_for_one_snapshot_reaches_nothing():
    film = Film(10, STATE // 2).go(60)
    assert film.log.nbytes <= STATE // 2
    with pytest.raises(BadFrameIndex, match=r"no frame can be reached yet \(history_s=10 and history_bytes=500"):
        film.log.find(59)


def test_what_nobody_knows_for_sure_is_forgotten_until_the_next_snapshot():
    film = Film(1e6).go(20)
    on_way = film.ask()
    film.log.forget()
    film.answered(on_way)
    film.go(1)
    assert not list(film.log), "the next frame brought the snapshot that stands for all before it"
    film.go(3)
    assert [kept.frame_index for kept in film.log] == [22, 23, 24]
    number, state = film.log.before(film.log.find(23))
    assert (film.log.after(number)[0].frame_index, len(state)) == (22, STATE)


def test_a_refused_frame_is_not_in_the_history():
    film = Film(1e6).go(3)
    nbytes = film.log.nbytes
    film.log.drop(film.ask())
    assert film.log.nbytes == nbytes
    assert [kept.frame_index for kept in film.go(1).log] == [0, 1, 2, 3]


def test_a_replay_that_falls_behind_is_told():
    film = Film(1).go(30)
    with pytest.raises(BadFrameIndex, match="went on faster"):
        film.log.after(0)


def test_pixels_are_kept_as_pixels():
    pixels = np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3)
    kept = Kept(Operations().frame(pixels), 0.0)
    assert np.array_equal(kept.pixels, pixels)
    assert kept.nbytes == pixels.nbytes + 8
    assert Kept(operations.removal(1), 0.0).nbytes == 0


def test_the_stride_is_what_gets_there_in_time():
    now = 0.0
    pace = Pace(10.0, lambda: now)
    assert pace.stride(300, 300) == 1, "nothing is known yet"
    for _ in range(20):
        pace.replayed()
    now = 2.0  # 10 frames/s again
    assert pace.stride(0, 10) == 1, "5 live: it gets there"
    assert pace.stride(50, 10) == 1, "50 / (10 - 5) = 10 s"
    assert pace.stride(51, 10) == 2
    assert pace.stride(0, 30) == 2, "15 live: never, but for 2 * 10 > 15"
    assert pace.stride(300, 60) == 6, "30 live: 300 / (6 * 10 - 30) = 10 s"

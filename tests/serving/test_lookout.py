"""When the supervisor takes a server for dead, with a real port and real metrics whose numbers are made up. Real servers: test_supervisor.py."""

from __future__ import annotations

import itertools
import queue
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager

import pytest

from masklet import ServerFault
from masklet.testing import Refusal
from masklet_build.serve import lookout
from masklet_build.serve.lookout import Lookout
from tests.fakes.metrics_page import metrics_page
from tests.fakes.toy_grpc import serving
from tests.fakes.toy_tracker import ToyTracker

PATIENCE_S = 60  # only something broken uses it up
BANK = "memory_bank_0_0"


def refuse(request: object) -> Refusal:
    return Refusal(ServerFault("mask_decoder failed").wire())


@pytest.fixture(autouse=True)
def _looks_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lookout, "LOOK_S", 0.05)


@contextmanager
def beating(faults: int = 0, work: float = 0) -> Iterator[tuple[str, Callable[[], int]]]:
    """Metrics with a beat more at every look; their URL, and the number of looks."""
    looks = itertools.count(1)
    seen = [0]

    def say() -> str:
        seen[0] = next(looks)
        numbers = {"beats_total": seen[0], "work_seconds": work, "longest_work_seconds": 0.1}
        return "".join(f'masklet_{name}{{stage="{BANK}"}} {number}\n' for name, number in numbers.items()) + f"masklet_faults_in_a_row {faults}\n"

    with metrics_page(say) as url:
        yield url, lambda: seen[0]


def heard(made: Lookout) -> str:
    assert made.bell.wait(PATIENCE_S), "it was not found"
    return made.dead


def wait_for(wanted: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not wanted():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_nothing_is_sent_after_the_first_frame_while_the_counters_are_well() -> None:
    lines = queue.Queue[str]()
    with serving(ToyTracker()) as (address, servicer, _), beating() as (url, looks):
        with closing(Lookout(address, url, ["tracker_a", "tracker_b"], 5, lines.put)) as made:
            for name in "ab":
                assert lines.get(timeout=PATIENCE_S).startswith(f"a first frame of tracker_{name} took ")
            wait_for(lambda: looks() > 20)
        assert (servicer.models, made.dead) == ([*["tracker_a"] * 2, *["tracker_b"] * 2], "")


def test_faults_in_a_row_that_clients_can_bring_about_end_no_server_and_are_asked_about_once_in_a_while() -> None:
    with serving(ToyTracker()) as (address, servicer, _), beating(faults=50) as (url, looks):
        with closing(Lookout(address, url, ["tracker"], 3600, lambda line: None)) as made:
            wait_for(lambda: looks() > 20)
        assert (servicer.models, made.dead) == (["tracker"] * 4, ""), "the first frames, and those of one doubt"


def test_a_server_of_which_every_request_fails_and_every_frame_is_dead() -> None:
    with (
        serving(refuse) as (address, servicer, _),
        beating(faults=50) as (url, _),
        closing(Lookout(address, url, ["tracker"], 5, lambda line: None)) as made,
    ):
        assert heard(made).startswith("50 requests in a row ended with a fault of the server; a frame: ")
    assert len(servicer.headers) in (3, 4), "three for the doubt, beside the first one"


def test_a_first_frame_that_fails_is_said_and_ends_nothing() -> None:
    lines = queue.Queue[str]()
    with serving(refuse) as (address, _, _), beating() as (url, looks):
        with closing(Lookout(address, url, ["tracker"], 5, lines.put)) as made:
            assert "mask_decoder failed" in lines.get(timeout=PATIENCE_S)
            wait_for(lambda: looks() > 20)
        assert made.dead == ""


def test_a_process_that_triton_gave_up_although_it_lives_is_told_from_one_that_died() -> None:
    with (
        serving(lambda request: Refusal(f"Stub process '{BANK}' is not healthy.")) as (address, _, _),
        beating() as (url, _),
        closing(Lookout(address, url, ["tracker"], 5, lambda line: None)) as made,
    ):
        assert "Its process has not ended: it was stopped, or got no CPU" in heard(made)


def test_work_that_hangs_and_metrics_that_are_silent_are_a_death() -> None:
    with beating(work=6) as (url, _), closing(Lookout("127.0.0.1:1", url, [], 5, lambda line: None)) as made:
        assert heard(made).startswith(f"{BANK} hangs")
    with closing(Lookout("127.0.0.1:1", "http://127.0.0.1:1/metrics", [], 0.2, lambda line: None)) as made:
        assert "does not answer" in heard(made)


def test_time_in_which_the_one_who_looks_stood_still_proves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """As when the whole machine was paused: hours later by the clock, and no beat since."""
    beats, looks, paused = [1, 2, 3, 3, *range(4, 1000)], [0], [0.0]
    clock = type("Clock", (), {"monotonic": staticmethod(lambda: time.monotonic() + paused[0])})
    monkeypatch.setattr(lookout, "time", clock)

    def say() -> str:
        paused[0] = 3600.0 if looks[0] >= 2 else 0.0  # between the two looks that see the same beat
        looks[0] += 1
        return f'masklet_beats_total{{stage="{BANK}"}} {beats[looks[0] - 1]}\n'

    with metrics_page(say) as url, closing(Lookout("127.0.0.1:1", url, [], 30, lambda line: None)) as made:
        wait_for(lambda: looks[0] > 20 or bool(made.dead))
        assert made.dead == ""

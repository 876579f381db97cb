"""Videos over toy servers."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

import pytest

from masklet import Resilience, Tracker
from masklet.testing import MockTransport
from tests.fakes.plays import Outcome, shown
from tests.fakes.toy_replicas import Replica, replicas
from tests.fakes.toy_tracker import ToyTracker


@pytest.fixture(autouse=True)
def short_end(monkeypatch):
    """Tests of a silent server need not wait as long as users."""
    monkeypatch.setattr("masklet.connection.session._END_AFTER_LOSS_S", 0.05)


@pytest.fixture
def many_snapshots(monkeypatch):
    """However slow this machine is: none of a history is thinned out for age."""
    monkeypatch.setattr("masklet.history.log.OLD_S", 1e6)


@pytest.fixture
def open_video(make_tracker):
    def make(server, timeout_s=0.05, **opened):
        return make_tracker("test:1", timeout_s=timeout_s, transport=server.transport).open(**opened)

    return make


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> MockTransport:
    """A toy tracker that the command reaches instead of a server."""
    toy = ToyTracker()
    transport = MockTransport(toy)
    transport.toy = toy
    monkeypatch.setattr("masklet.cli.track.Tracker", functools.partial(Tracker, transport=transport))
    return transport


LONG_S = 60.0  # every limit that a test is not about: whoever waits for the wrong one waits for a minute


@dataclass
class Pair:
    """Two servers, how they are reached (which keeps what they were asked), and a resilient video that begins on the first."""

    one: Replica
    other: Replica
    to_one: MockTransport
    to_other: MockTransport
    video: Any


@pytest.fixture
def pair(make_tracker):
    def make(settings: Resilience | None = None, **opened: Any) -> Pair:
        servers, transports = replicas(2)
        tracker = make_tracker(list(servers), timeout_s=LONG_S, transport=transports)
        hasty = Resilience(snapshot_every=4, watchdog_s=0.05, give_up_s=0.6)
        return Pair(*servers.values(), *transports.values(), tracker.open(resilient=settings or hasty, **opened))

    return make


@pytest.fixture
def undisturbed():
    """The results for these frames on a server without faults, with one prompt on the first."""

    def play(sent: list[bytes]) -> list[Outcome]:
        _, transports = replicas(1)
        with Tracker("a:1", transport=transports) as tracker, tracker.open() as video:
            video.prompt(1, points=[(1, 2)])
            return [shown(video.track(frame)) for frame in sent]

    return play

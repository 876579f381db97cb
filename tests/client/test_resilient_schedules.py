"""Whatever servers do, and whenever they do it: a resilient video gives what an undisturbed one gives."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from masklet import Resilience
from tests.fakes.plays import make_play, perform
from tests.fakes.toy_replicas import FAULTS, Replica, replicas

SEEDS = 60
SETTINGS = Resilience(snapshot_every=5, watchdog_s=0.004, give_up_s=20)


@pytest.fixture(autouse=True)
def hasty(monkeypatch):
    """Faults are many here, and time is short. Requests are lost by chance more often than by their own fault."""
    monkeypatch.setattr("masklet.recovery.options._FIRST_DELAY_S", 0.0005)
    monkeypatch.setattr("masklet.recovery.options._LONGEST_DELAY_S", 0.002)
    monkeypatch.setattr("masklet.recovery.session._LOSSES", 1000)


def disturb(servers: dict[str, Replica], seed: int, rate: float) -> Counter[str]:
    """Lets requests fail by chance, and servers drain and come back. Counts what was done."""
    rng, done = np.random.default_rng((seed, 1)), Counter[str]()

    def fault(_request: object) -> str | None:
        if rng.random() < rate / 2:
            server = servers[str(rng.choice(list(servers)))]
            server.draining = not server.draining and sum(other.draining for other in servers.values()) + 1 < len(servers)
            done["drain"] += server.draining
        if rng.random() >= rate:
            return None
        kind = str(rng.choice(FAULTS))
        done[kind] += 1
        return kind

    for server in servers.values():
        server.fault = fault
    return done


def test_any_schedule_of_faults_leaves_every_outcome_as_it_was(make_tracker):
    happened, interruptions = Counter[str](), 0
    for seed in range(SEEDS):
        play, (calm, calmly), (servers, transports) = make_play(seed), replicas(1), replicas(3)
        with make_tracker(list(calm), transport=calmly) as tracker:
            expected = perform(play, tracker.open())
        with make_tracker(list(servers), timeout_s=0.008, transport=transports) as tracker:
            video = tracker.open(resilient=SETTINGS)
            done = disturb(servers, seed, rate=0.08)
            assert perform(play, video) == expected, f"seed {seed}"
            happened += done
            interruptions += len(video.interruptions)
    assert all(happened[kind] > 10 for kind in (*FAULTS, "drain")), happened
    assert interruptions > SEEDS, happened

"""A rewind of a video that outlives its servers: whatever they do meanwhile, the click comes as if in time."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from masklet import Resilience
from tests.client.test_resilient_schedules import disturb
from tests.fakes.toy_replicas import frames, replicas

SEEDS = 12
COUNT = 40
SETTINGS = Resilience(snapshot_every=5, watchdog_s=0.02, give_up_s=20)
FILM = frames(COUNT)


@pytest.fixture(autouse=True)
def hasty(monkeypatch):
    """Faults are many here, and time is short. Requests are lost by chance more often than by their own fault."""
    monkeypatch.setattr("masklet.recovery.options._FIRST_DELAY_S", 0.0005)
    monkeypatch.setattr("masklet.recovery.options._LONGEST_DELAY_S", 0.002)
    monkeypatch.setattr("masklet.recovery.session._LOSSES", 1000)
    monkeypatch.setattr("masklet.connection.session._END_S", 0.02)


def in_time(tracker, prompts):
    """The past of a video at each of its frames, which these servers answer with, and its state at the end."""
    with tracker.open() as video:
        seen = []
        for index, frame in enumerate(FILM):
            for number in prompts.get(index, ()):
                video.prompt(number, points=[(1, 2)])
            seen.append(video.track(frame, frame_index=index).scores.tolist())
        return seen, video.snapshot()


def test_any_schedule_of_faults_leaves_a_late_click_as_one_in_time(make_tracker):
    happened, interruptions = Counter(), 0
    for seed in range(SEEDS):
        rng = np.random.default_rng(seed)
        (calm, calmly), (servers, transports) = replicas(1), replicas(3)
        prompts, seen, under_way = {0: [1]}, [], []
        tracker = make_tracker(list(servers), timeout_s=0.05, transport=transports)
        with tracker.open(resilient=SETTINGS, history_s=1e6) as video:
            done = disturb(servers, seed, rate=0.04)
            video.prompt(1, points=[(1, 2)])
            for index, frame in enumerate(FILM):
                seen.append(video.track(frame, frame_index=index).scores.tolist())
                if rng.random() < 0.12:
                    clicked, number = int(rng.integers(index + 1)), 2 + len(prompts)
                    with video.rewind(clicked) as past:
                        past.prompt(number, points=[(1, 2)])
                    prompts.setdefault(clicked, []).append(number)
                    under_way.append((clicked, past))
            for clicked, past in under_way:
                again = [result.scores.tolist() for result in past.wait()]
                seen[clicked : clicked + len(again)] = again
            state = video.snapshot()
            happened += done
            interruptions += len(video.interruptions)
        with make_tracker(list(calm), transport=calmly) as other:
            expected, wanted = in_time(other, prompts)
        assert seen == expected, f"seed {seed}"
        assert state == wanted, f"seed {seed}"
    assert min(happened.values()) > 0, happened
    assert interruptions > SEEDS, happened


@pytest.mark.parametrize("when", ["before", "while"])
def test_a_server_that_drains_is_left_with_the_click(make_tracker, when):
    servers, transports = replicas(2)
    one, other = servers.values()
    with make_tracker(list(servers), transport=transports).open(resilient=Resilience(), history_s=1e6) as video:
        video.prompt(1, points=[(1, 2)])
        for index in range(20):
            one.draining = index >= 18 and when == "before"
            video.track(FILM[index], frame_index=index)
        one.draining = True
        with video.rewind(5) as past:
            past.prompt(7, points=[(1, 2)])
        for index in range(20, COUNT):
            last = video.track(FILM[index], frame_index=index).scores.tolist()
        assert len(past.wait()) >= 15
        state = video.snapshot()
    calm, calmly = replicas(1)
    with make_tracker(list(calm), transport=calmly) as tracker:
        expected, wanted = in_time(tracker, {0: [1], 5: [7]})
    assert (last, state) == (expected[-1], wanted)
    assert other.starts >= 1
    assert not one.videos, "nothing is left behind on the server that drains"

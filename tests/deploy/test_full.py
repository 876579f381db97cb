"""Two real servers with room for one video each, behind the real gateway: where a video begins that one of them refuses, and when."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from masklet import Resilience, ServerBusy, Tracker
from tests.deploy.tools import tool
from tests.failover.fleet import NANO, Fleet, Pod
from tests.failover.gateways import Envoy, wait_until_healthy
from tests.serving.scraping import scrape

pytestmark = pytest.mark.server

PATIENCE_S = 60  # only something broken uses it up
FRAME = np.random.default_rng(5).integers(0, 256, (48, 64, 3), np.uint8)
BUSY = 'refusals_total{code="SERVER_BUSY"}'


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory, serving_python: Path) -> Iterator[Fleet]:
    network = replace(NANO, bank={"max_videos": "1", "idle_seconds": str(10 * PATIENCE_S)})
    with Fleet(tmp_path_factory.mktemp("fleet"), serving_python, 2, network=network, supervised=False) as fleet:
        yield fleet


@pytest.fixture(scope="module")
def tracker(fleet: Fleet, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tracker]:
    with Envoy(tool("envoy"), tmp_path_factory.mktemp("envoy"), fleet.ports) as gateway:
        wait_until_healthy(gateway, 2)
        with Tracker(gateway.url, timeout_s=PATIENCE_S) as tracker:
            yield tracker


@pytest.fixture(scope="module")
def ids(fleet: Fleet, tracker: Tracker) -> dict[str, list[int]]:
    """Of each server two ids that the gateway gives to it."""
    found: dict[str, list[int]] = {pod.host: [] for pod in fleet.pods}
    for number in itertools.count(1):
        with tracker.open(number) as video:
            video.track(FRAME)
            holder = eventually(lambda: [host for host, videos in fleet.holders().items() if videos])
        found[holder[0]].append(number)
        eventually(lambda: not any(fleet.holders().values()))
        if all(len(some) >= 2 for some in found.values()):
            return found
    raise AssertionError


def eventually(look):
    """What `look` gives once it is true: gauges are a second old."""
    deadline = time.monotonic() + PATIENCE_S
    while not (seen := look()):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return seen


def tracked(video) -> list[bytes]:
    """Masks and scores of two frames."""
    video.prompt(1, points=[(30, 20)])
    results = [video.track(FRAME), video.track(FRAME)]
    return [part.tobytes() for result in results for part in (result.masks, result.scores)]


def refused(pod: Pod) -> float:
    return scrape(pod.server)[1][BUSY]


def test_a_plain_video_that_a_full_replica_refuses_begins_on_the_other(fleet, tracker, ids, monkeypatch):
    full, free = (pod.host for pod in fleet.pods)
    occupant, *_ = ids[full]
    with tracker.open() as alone:
        expected = tracked(alone)
    eventually(lambda: not any(fleet.holders().values()))
    with tracker.open(occupant) as live:
        live.track(FRAME)
        tried = iter([ids[full][1], ids[free][0]])
        monkeypatch.setattr("masklet.connection.session.random_id", lambda: next(tried))
        with tracker.open() as video:
            assert tracked(video) == expected
            assert video.video_id == ids[free][0]
            eventually(lambda: fleet.holders() == {full: 1, free: 1})
        assert live.track(FRAME).frame_index == 1, "whoever is there notices nothing"


def test_where_both_are_full_a_plain_video_is_told_when_to_ask_again_and_a_resilient_one_does(fleet, tracker, ids, monkeypatch):
    hints: list[float] = []
    monkeypatch.setattr("masklet.recovery.recovery.spread_s", lambda seconds: hints.append(seconds) or 0.2)
    eventually(lambda: not any(fleet.holders().values()))
    with tracker.open(ids[fleet.pods[0].host][0]) as one, tracker.open(ids[fleet.pods[1].host][0]) as other:
        for occupant in (one, other):
            occupant.track(FRAME)
        before = sum(map(refused, fleet.pods))
        with tracker.open() as plain, pytest.raises(ServerBusy, match="1 videos are live") as busy:
            plain.track(FRAME)
        assert 1 <= busy.value.retry_after_s <= 30
        eventually(lambda: sum(map(refused, fleet.pods)) == before + 3)
        with tracker.open(resilient=Resilience(give_up_s=10 * PATIENCE_S)) as video, ThreadPoolExecutor(1) as pool:
            answer = pool.submit(video.track, FRAME)
            eventually(lambda: hints)
            assert not answer.done()
            other.close()
            assert answer.result().frame_index == 0
            assert video.interruptions == []
    assert all(1 <= hint <= 30 for hint in hints)

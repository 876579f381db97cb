"""The generator of many videos sends what it says, and Triton's counts are read as they are meant."""

from __future__ import annotations

import asyncio
import os
import time

import pytest

from benchmarks.crowd import begun, track
from benchmarks.steady import STEADY, Setting
from benchmarks.triton_times import PHASES, Counts, between, cpu_s
from masklet import AsyncTracker
from tests.fakes.toy_tracker import Server


def test_a_video_begins_with_a_click_on_every_object_and_goes_on_where_it_was() -> None:
    server = Server()

    async def play() -> None:
        async with AsyncTracker("toy:0", transport=server.transport) as tracker:
            video, later = await begun(tracker, Setting(2, 48, 64))
            await track(video, later, 5)
            await track(video, later, 7)

    asyncio.run(play())
    assert server.flags == ["S", *[""] * (STEADY + 12), "E"]
    assert [item["object"] for item in server.prompts[0]] == [1, 2]
    assert not any(server.prompts[1:])
    files = [request.tensors["FRAME_ENCODED"].item() for request in server.transport.requests[:-1]]
    assert len(set(files[:16])) == 16  # the clip
    assert files[16:] == files[14:0:-1] + files[:3]  # and back, and forth again


def counts(requests: int, executions: int, ms: float) -> Counts:
    return Counts(requests, executions, dict.fromkeys(PHASES, ms))


def test_counts_are_those_between_two_looks_and_per_request() -> None:
    before = {"a": counts(10, 5, 100.0), "idle": counts(3, 3, 7.0)}
    after = {"a": counts(14, 6, 120.0), "idle": counts(3, 3, 7.0)}
    found = between(before, after)
    assert found.keys() == {"a"}
    assert (found["a"].requests, found["a"].executions) == (4, 1)
    assert found["a"].per_request() == dict.fromkeys(PHASES, 5.0)


def test_cpu_time_is_that_of_the_process() -> None:
    before, own = cpu_s([os.getpid()]), time.process_time()
    while time.process_time() < own + 0.2:
        sum(range(10_000))
    assert cpu_s([os.getpid()]) - before == pytest.approx(0.2, abs=0.05)

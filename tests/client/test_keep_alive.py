"""A silent video that is open gives its server signs of life: requests without a frame, which change nothing."""

from __future__ import annotations

import asyncio
import gc
import os
import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from masklet import AsyncTracker, BadParameter, Resilience, Tracker, VideoLost
from masklet.testing import Broken, MockTransport, Request
from tests.fakes.toy_grpc import serving
from tests.fakes.toy_replicas import Replica, frames, sent
from tests.fakes.toy_tracker import ToyTracker

FRAME = np.zeros((24, 32, 3), dtype=np.uint8)
PATIENCE_S = 60.0
SOON_S = 0.02


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Silence is noticed at once; how long it takes is no matter of these tests."""
    monkeypatch.setattr("masklet.connection.keep_alive.SILENCE_S", SOON_S)
    monkeypatch.setattr("masklet.connection.keep_alive.LOOK_S", SOON_S)


def is_sign(request: Request) -> bool:
    return bool(request.parameters.get("keep_alive"))


def signs(transport: MockTransport) -> int:
    return sum(map(is_sign, transport.requests))


def until(condition: Callable[[], Any]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, "it never came to that"
        time.sleep(SOON_S / 2)


@pytest.fixture(params=["plain", "resilient"])
def opened(request: pytest.FixtureRequest) -> dict[str, Any]:
    return {"resilient": request.param == "resilient"}


def test_a_silent_video_gives_signs_that_carry_nothing_and_use_no_frame_index(opened):
    transport = MockTransport(ToyTracker())
    with Tracker("test:1", transport=transport) as tracker, tracker.open(**opened) as video:
        video.prompt(1, points=[(1, 2)])
        assert video.track(FRAME).frame_index == 0
        until(lambda: signs(transport) >= 3)
        assert video.track(FRAME).frame_index == 1
        assert not video.interruptions
    for request in filter(is_sign, transport.requests):
        assert request.tensors.keys() == {"PROMPTS"}
        assert request.tensors["PROMPTS"][0, 0] == b"[]"
        assert request.parameters.keys() - {"owner"} == {"masks", "keep_alive"}
        assert (request.start, request.end) == (False, False)
        assert request.video_id == transport.requests[0].video_id


def test_a_sign_waits_for_the_answer_to_the_one_before(opened):
    """A server that is slow is not asked more and more."""
    silent = threading.Event()
    toy = ToyTracker()
    transport = MockTransport(lambda request: None if is_sign(request) else toy(request))
    with Tracker("test:1", transport=transport, timeout_s=0.2).open(**opened) as video:
        video.track(FRAME)
        until(lambda: signs(transport) == 1)
        silent.wait(10 * SOON_S)
    assert signs(transport) == 1


def test_a_sign_without_an_answer_takes_nothing_of_the_time_that_a_frame_may_take(opened):
    """The server is slow with the sign, for longer than an answer may take; the frame behind it comes within that time."""
    toy, seen, over = ToyTracker(), threading.Event(), threading.Event()
    timeout_s = 3.0

    def handler(request: Request) -> Any:
        if is_sign(request):
            seen.set()
            over.wait(PATIENCE_S)
        return toy(request)

    if opened["resilient"]:
        opened = {"resilient": Resilience(watchdog_s=timeout_s)}
    with serving(handler) as (url, _, _), Tracker(url, timeout_s=timeout_s) as tracker, tracker.open(**opened) as video:
        video.track(FRAME)
        assert seen.wait(PATIENCE_S)
        time.sleep(timeout_s)
        threading.Timer(timeout_s / 10, over.set).start()
        assert video.track(FRAME).frame_index == 1
        assert not video.interruptions


def test_the_asynchronous_client_does_it_while_the_loop_runs(opened):
    transport = MockTransport(ToyTracker())

    async def think() -> int:
        async with AsyncTracker("test:1", transport=transport) as tracker, tracker.open(**opened) as video:
            await video.track(FRAME)
            while signs(transport) < 3:
                await asyncio.sleep(SOON_S / 2)
            return (await video.track(FRAME)).frame_index

    assert asyncio.run(asyncio.wait_for(think(), PATIENCE_S)) == 1


def test_there_are_none_before_the_first_frame_nor_after_the_end(opened):
    transport, other = MockTransport(ToyTracker()), MockTransport(ToyTracker())
    with Tracker("test:1", transport=other) as clock, clock.open() as watched, Tracker("test:1", transport=transport) as tracker:
        watched.track(FRAME)
        video = tracker.open(**opened)
        until(lambda: signs(other) >= 5)
        assert transport.requests == []
        video.track(FRAME)
        video.close()
        count, seen = len(transport.requests), signs(other)
        until(lambda: signs(other) >= seen + 5)
        assert len(transport.requests) == count


@pytest.mark.parametrize("seconds", [0.0, 1e-6])
def test_they_can_be_switched_off_and_end_some_time_after_the_last_request_of_the_caller(opened, seconds):
    transport, other = MockTransport(ToyTracker()), MockTransport(ToyTracker())
    with Tracker("test:1", transport=other) as clock, clock.open() as watched:
        with Tracker("test:1", transport=transport, keep_alive_s=seconds) as tracker, tracker.open(**opened) as video:
            watched.track(FRAME)
            video.track(FRAME)
            until(lambda: signs(other) >= 5)
        assert signs(transport) == 0


def test_a_video_that_is_forgotten_gives_none(opened):
    transport, other = MockTransport(ToyTracker()), MockTransport(ToyTracker())
    with Tracker("test:1", transport=other) as clock, clock.open() as watched:
        watched.track(FRAME)
        Tracker("test:1", transport=transport).open(**opened).track(FRAME)
        gc.collect()
        count, seen = len(transport.requests), signs(other)
        until(lambda: signs(other) >= seen + 5)
        assert len(transport.requests) == count


def test_the_thread_ends_with_the_last_video():
    with Tracker("test:1", transport=MockTransport(ToyTracker())) as tracker:
        videos = [tracker.open() for _ in range(20)]
        named = [thread for thread in threading.enumerate() if thread.name == "masklet-keep-alive"]
        assert named
        for video in videos:
            video.close()
    until(lambda: not any(thread.name == "masklet-keep-alive" for thread in threading.enumerate()))


def test_a_forked_child_leaves_the_videos_of_its_parent_alone_and_keeps_its_own_alive():
    transport = MockTransport(ToyTracker())
    with Tracker("test:1", transport=transport) as tracker, tracker.open() as video:
        video.track(FRAME)
        until(lambda: signs(transport))
        read, write = os.pipe()
        if (child := os.fork()) == 0:
            try:
                mine, before = MockTransport(ToyTracker()), signs(transport)
                with Tracker("test:1", transport=mine) as other, other.open() as own:
                    own.track(FRAME)
                    until(lambda: signs(mine) >= 3)
                os.write(write, b"well" if signs(transport) == before else b"the parent's was kept alive too")
            finally:
                os._exit(0)
        os.close(write)
        with os.fdopen(read, "rb") as told:
            assert told.read() == b"well"
        os.waitpid(child, 0)


def test_a_server_that_does_not_know_the_parameter_loses_no_video(opened):
    toy = ToyTracker()
    refusal = BadParameter("unknown request parameter 'keep_alive'. Known: masks.")
    transport = MockTransport(lambda request: refusal if is_sign(request) else toy(request))
    with Tracker("test:1", transport=transport) as tracker, tracker.open(**opened) as video:
        video.track(FRAME)
        until(lambda: signs(transport) >= 3)
        assert video.track(FRAME).frame_index == 1
        assert not video.interruptions


def test_a_draining_server_gets_none_so_that_it_can_stop(opened):
    replica, other = Replica(), MockTransport(ToyTracker())
    transport = MockTransport(replica)
    with Tracker("test:1", transport=other) as clock, clock.open() as watched, Tracker("test:1", transport=transport) as tracker:
        watched.track(FRAME)
        video = tracker.open(**opened)
        video.track(frames(1)[0])
        until(lambda: signs(transport) >= 1)
        replica.draining = True
        told = signs(transport)
        until(lambda: signs(transport) > told)
        seen = signs(other)
        until(lambda: signs(other) >= seen + 5)
        assert signs(transport) <= told + 2, "one says that it drains, and one may have been on its way"
        video.close()


def test_a_loss_that_a_sign_brings_about_waits_for_the_caller():
    toy = ToyTracker()
    transport = MockTransport(lambda request: Broken("UNAVAILABLE Socket closed") if is_sign(request) else toy(request))
    with Tracker("test:1", transport=transport).open() as video:
        video.track(FRAME)
        until(lambda: signs(transport) >= 1)
        with pytest.raises(VideoLost, match="Socket closed"):
            video.track(FRAME)


def test_a_video_whose_signs_end_its_streams_is_as_undisturbed():
    """Every third sign ends a server; frames in between are those of a video without trouble."""
    count = 0

    def fault(request: Request) -> str | None:
        nonlocal count
        count += is_sign(request)
        return "cut before" if is_sign(request) and count % 3 == 0 else None

    replicas = {url: Replica(fault=fault) for url in ("a:1", "b:1")}
    transports = {url: MockTransport(replica) for url, replica in replicas.items()}
    film, results = frames(12), []
    with Tracker(list(replicas), transport=transports) as tracker, tracker.open(resilient=Resilience(snapshot_every=4)) as video:
        video.prompt(1, points=[(1, 2)])
        for frame in film:
            results.append(video.track(frame))
            before = count
            until(lambda before=before: count > before)
        assert len(video.interruptions) >= 2
    shown_now = [(result.frame_index, result.scores.tolist()) for result in results]
    with Tracker("a:1", transport=MockTransport(Replica())) as tracker, tracker.open() as alone:
        alone.prompt(1, points=[(1, 2)])
        assert [(result.frame_index, result.scores.tolist()) for result in map(alone.track, film)] == shown_now


def test_signs_are_not_sent_again_elsewhere(monkeypatch):
    replicas = {url: Replica() for url in ("a:1", "b:1")}
    transports = {url: MockTransport(replica) for url, replica in replicas.items()}
    with Tracker(list(replicas), transport=transports) as tracker, tracker.open(resilient=True) as video:
        for frame in frames(3):
            video.track(frame)
            seen = signs(transports["a:1"])
            until(lambda seen=seen: signs(transports["a:1"]) > seen)
        monkeypatch.setattr("masklet.connection.keep_alive.SILENCE_S", 1e9)
        replicas["a:1"].fault = lambda request: "cut before"
        assert video.track(frames(1, 3)[0]).frame_index == 3
        assert [interruption.to_url for interruption in video.interruptions] == ["b:1"]
        assert (len(sent(transports["b:1"])), signs(transports["b:1"])) == (4, 0)


def test_nothing_is_computed_again_before_the_caller_comes_back():
    toy, other = Replica(), MockTransport(ToyTracker())
    toy.fault = lambda request: "cut before" if is_sign(request) else None
    transport = MockTransport(toy)
    with Tracker("test:1", transport=other) as clock, clock.open() as watched, Tracker("test:1", transport=transport) as tracker:
        watched.track(FRAME)
        with tracker.open(resilient=True) as video:
            video.track(frames(1)[0])
            until(lambda: signs(transport))
            seen = signs(other)
            until(lambda: signs(other) >= seen + 5)
            assert toy.starts == 1
            back = time.time()
            assert video.track(frames(1, 1)[0]).frame_index == 1
            assert toy.starts == 2
            assert video.interruptions[0].at >= back, "the thinking is no part of the interruption"

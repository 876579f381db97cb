"""Frames that come when they come: results do not wait for them, and nothing is lost where a caller stops waiting."""

from __future__ import annotations

import asyncio
import gc
import threading
import time

import numpy as np
import pytest

from masklet import AsyncTracker, BadPrompt, Resilience, Tracker, VideoLost
from masklet.connection.plain import PlainConnection
from masklet.connection.session import Session
from masklet.recovery.connection import ResilientConnection
from masklet.recovery.session import ResilientSession
from masklet.testing import MockTransport
from masklet.transport.inbox import Inbox
from tests.fakes.toy_grpc import serving
from tests.fakes.toy_tracker import Server, ToyTracker

FRAME = np.zeros((24, 32, 3), dtype=np.uint8)
LONG_S = 60.0  # nobody waits that long where all is well


class Camera:
    """Gives frames up to where it is let; `waited_in_vain` if nobody let it go on. For threads and for asyncio."""

    def __init__(self, free: int) -> None:
        self.free, self.given, self.waited_in_vain = free, 0, False

    def _held(self) -> bool:
        return self.given >= self.free

    def _give(self) -> np.ndarray:
        self.given += 1
        return FRAME

    def __iter__(self):
        while True:
            until = time.monotonic() + LONG_S
            while self._held() and not self.waited_in_vain:
                time.sleep(0.002)
                self.waited_in_vain = time.monotonic() > until
            yield self._give()

    async def asynchronous(self):
        while True:
            until = time.monotonic() + LONG_S
            while self._held() and not self.waited_in_vain:
                await asyncio.sleep(0.002)
                self.waited_in_vain = time.monotonic() > until
            yield self._give()


def pullers() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "masklet-frames"]


def gone_in_time() -> bool:
    deadline = time.monotonic() + LONG_S
    while pullers() and time.monotonic() < deadline:
        gc.collect()
        time.sleep(0.005)
    return not pullers()


@pytest.mark.parametrize("resilient", [False, True])
def test_a_result_comes_though_the_camera_has_no_next_frame(resilient):
    camera = Camera(free=1)
    with serving(ToyTracker()) as (url, _, _), Tracker(url, timeout_s=60) as tracker, tracker.open(resilient=resilient) as video:
        results = video.track_many(camera)
        for index in range(4):
            assert next(results).frame_index == index
            assert (camera.given, camera.waited_in_vain) == (index + 1, False)
            camera.free += 1


@pytest.mark.parametrize("resilient", [False, True])
def test_a_result_comes_though_the_asynchronous_camera_has_no_next_frame(resilient):
    async def play(url):
        camera = Camera(free=1)
        async with AsyncTracker(url, timeout_s=60) as tracker, tracker.open(resilient=resilient) as video:
            results = video.track_many(camera.asynchronous())
            for index in range(4):
                assert (await anext(results)).frame_index == index
                assert (camera.given, camera.waited_in_vain) == (index + 1, False)
                camera.free += 1

    with serving(ToyTracker()) as (url, _, _):
        asyncio.run(play(url))


def test_a_prompt_inside_the_loop_goes_with_the_next_frame_that_is_sent():
    server, camera = Server(), Camera(free=1)
    with Tracker("test:1", transport=server.transport) as tracker, tracker.open() as video:
        for result in video.track_many(camera):
            video.prompt(result.frame_index, points=[(1, 2)])
            if result.frame_index == 3:
                break
            camera.free += 1
    camera.free += 1
    prompted = [[item["object"] for item in items] for items in server.prompts]
    assert prompted[:4] == [[], [0], [1], [2]]


def test_nothing_is_read_while_nobody_waits_for_a_result():
    camera = Camera(free=100)
    with Tracker("test:1", transport=Server().transport) as tracker, tracker.open() as video:
        results = video.track_many(camera, in_flight=8)
        next(results)
        before = camera.given
        time.sleep(0.05)  # nothing may happen in it
        assert camera.given == before == 1


def test_the_thread_that_takes_frames_ends_with_them_and_with_whoever_wanted_them():
    closed = threading.Event()

    def camera():
        try:
            while True:
                yield FRAME
        finally:
            closed.set()

    assert gone_in_time()
    with Tracker("test:1", transport=Server().transport) as tracker, tracker.open() as video:
        assert len(list(video.track_many(iter([FRAME] * 3)))) == 3
        assert gone_in_time(), "it ends with the frames"
        for _ in video.track_many(camera()):
            break
        assert gone_in_time(), "it ends when the loop is left"
        assert closed.wait(LONG_S), "a generator is closed then"
        stuck = Camera(free=1)
        for _ in video.track_many(stuck):
            break
        stuck.free += 5
        assert gone_in_time(), "it ends with the frame that it waited for"
        assert stuck.given <= 2


def test_the_thread_ends_though_an_error_remembers_who_wanted_the_frames():
    assert gone_in_time()
    video = Tracker("test:1", transport=Server({1: VideoLost("it is gone.")}).transport).open()
    results = video.track_many(iter([FRAME] * 9))
    next(results)
    with pytest.raises(VideoLost):
        next(results)
    del results, video
    assert gone_in_time()


@pytest.mark.parametrize("reply", [BadPrompt("x is 99."), VideoLost("it is gone.")], ids=["refused", "lost"])
@pytest.mark.parametrize("resilient", [False, Resilience(give_up_s=0.1)], ids=["plain", "resilient"])
def test_the_thread_ends_though_its_frames_and_an_error_know_the_video(reply, resilient):
    def play():
        def frames():
            for _ in range(9):
                video.prompt(1, points=[(1, 2)])
                yield FRAME

        with Tracker("test:1", transport=MockTransport(lambda _: reply)) as tracker, tracker.open(resilient=resilient) as video:
            results = video.track_many(frames())
            with pytest.raises(type(reply)):
                next(results)

    assert gone_in_time()
    play()
    assert gone_in_time()


def test_a_wait_that_times_out_loses_no_result_and_no_camera():
    camera, timeouts = Camera(free=1), []

    def slow(request):
        enough, until = len(timeouts) + 2, time.monotonic() + LONG_S
        while "FRAME" in request.tensors and len(timeouts) < enough and time.monotonic() < until:
            time.sleep(0.01)
        return toy(request)

    async def play(url):
        async with AsyncTracker(url, timeout_s=60) as tracker, tracker.open() as video:
            results, got = video.track_many(camera.asynchronous(), in_flight=2), []
            while len(got) < 5:
                try:
                    got.append((await asyncio.wait_for(anext(results), 0.02)).frame_index)
                    camera.free += 1
                except asyncio.TimeoutError:
                    timeouts.append(None)
            return got

    toy = ToyTracker()
    with serving(slow) as (url, _, _):
        got = asyncio.run(play(url))
    assert got == [0, 1, 2, 3, 4]
    assert len(timeouts) >= 2 * len(got)


class Stopped(BaseException):
    """As KeyboardInterrupt, which would also end these tests."""


@pytest.mark.parametrize("resilient", [False, True])
@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize(
    ("kind", "method"),
    [
        (Session, "resolve"),
        (Session, "_outcome"),
        (PlainConnection, "_take"),
        (ResilientConnection, "_take"),
        (Inbox, "advance"),
        (ResilientSession, "_answered"),
    ],
)
def test_an_interrupt_between_receiving_and_resolving_loses_and_shifts_nothing(monkeypatch, kind, method, after, resilient):
    plain, seen = getattr(kind, method), []

    def interrupted(*args, **kwargs):
        seen.append(None)
        if len(seen) == 3 and not after:
            raise Stopped
        result = plain(*args, **kwargs)
        if len(seen) == 3 and after:
            raise Stopped
        return result

    monkeypatch.setattr(kind, method, interrupted)
    got, stops = [], 0
    transport = MockTransport(ToyTracker())
    with Tracker("test:1", timeout_s=5, transport=transport) as tracker, tracker.open(resilient=resilient) as video:
        results = video.track_many([np.zeros((20 + number, 32, 3), np.uint8) for number in range(7)], in_flight=3)
        video.prompt(1, points=[(1, 2)])
        while len(got) < 7:
            try:
                got.append(next(results))
            except Stopped:
                stops += 1
    assert stops == (kind not in ([PlainConnection] if resilient else [ResilientConnection, ResilientSession]))
    assert "silent" not in [interruption.cause for interruption in video.interruptions]
    assert [result.masks.shape for result in got] == [(1, 20 + number, 32) for number in range(7)]
    assert [result.frame_index for result in got] == list(range(7))


@pytest.mark.parametrize("in_flight", [0, -1, 65, 10**6])
def test_the_number_of_frames_in_flight_has_bounds(open_video, in_flight):
    with open_video(Server()) as video, pytest.raises(ValueError, match=f"at least 1 and at most 64, got {in_flight}"):
        video.track_many([FRAME], in_flight=in_flight)

"""The end of a video: `close` has a deadline of its own, and a process that ends does not wait."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

from masklet import VideoLost
from masklet.connection.session import Session
from masklet.testing import answered
from masklet.testing.mock import AsyncMockStream, MockStream
from tests.fakes.toy_grpc import serving
from tests.fakes.toy_replicas import at, frames
from tests.fakes.toy_tracker import Server, ToyTracker

FRAME = np.zeros((24, 32, 3), dtype=np.uint8)


def connection_of(video):
    """What the calls of a video of either kind go through."""
    return getattr(video, "_video", video)._connection


LEAVING = """
import sys, threading
import numpy as np, masklet

video = masklet.Tracker(sys.argv[1], timeout_s=600).open(resilient={resilient})
frame = np.zeros((24, 32, 3), np.uint8)

def camera():
    yield frame
    yield frame
    threading.Event().wait()

results = video.track_many(camera(), in_flight=3)
print(next(results).frame_index, flush=True)
threading.Thread(target=next, args=(results,), daemon=True).start()
sys.stdin.readline()
"""


def test_a_server_that_does_not_answer_holds_close_up_for_seconds_whatever_a_frame_may_take(open_video, monkeypatch):
    monkeypatch.setattr("masklet.connection.session._END_S", 0.05)
    video = open_video(Server({1: None, 2: None}), timeout_s=3600)
    video.track(FRAME)
    with pytest.raises(VideoLost, match=r"no answer for END from test:1 within 0.05 s"):
        video.close()


def test_frames_that_are_still_on_their_way_do_not_make_it_longer(open_video, monkeypatch):
    monkeypatch.setattr("masklet.connection.session._END_S", 0.05)
    video = open_video(Server({1: None, 2: None, 3: None}), timeout_s=3600)
    video.track(FRAME)
    video.prompt(1, points=[(1, 2)])
    connection_of(video).frame(FRAME)
    with pytest.raises(VideoLost, match=r"within 0.05 s"):
        video.close()


def test_a_server_that_is_slow_with_many_frames_is_not_waited_for_frame_by_frame(monkeypatch):
    session, toy = Session("test:1", 1, 3600), ToyTracker()
    session.frame(FRAME)
    (first,) = session.ready()
    session.resolve(answered(first, toy(first)))
    for _ in range(3):
        session.frame(FRAME)
    on_way = list(session.ready())
    now = time.monotonic()
    monkeypatch.setattr("time.monotonic", lambda: now)
    session.end()
    now += 4.0
    session.resolve(answered(on_way[0], toy(on_way[0])))
    assert session.patience() == pytest.approx(1.0), "5 s in all"


def test_what_was_not_sent_yet_is_not_sent_by_close(open_video, monkeypatch):
    monkeypatch.setattr("masklet.connection.session._END_S", 0.05)
    server = Server({0: None, 1: None, 2: None})
    video = open_video(server, timeout_s=3600)
    for _ in range(3):
        connection_of(video).frame(FRAME)
    with pytest.raises(Exception, match=r"within 0.05 s"):
        video.close()
    assert server.flags == ["S", "E", "E"]


def test_what_was_held_is_not_sent_after_the_end_when_the_first_answer_comes():
    session, toy = Session("test:1", 1, 30), ToyTracker()
    pending = [session.frame(FRAME) for _ in range(3)]
    (first,) = session.ready()
    session.end()
    session.resolve(answered(first, toy(first)))
    assert list(session.ready()) == []
    assert pending[0].result().frame_index == 0
    for held in pending[1:]:
        with pytest.raises(VideoLost, match="closed before the request was sent"):
            held.result()


def test_close_returns_when_every_stream_of_a_resilient_video_is_closed(pair, monkeypatch):
    closed = []

    def slow(stream, *, cancel=False):
        time.sleep(0.05)
        closed.append(stream)

    async def slow_asynchronous(stream, *, cancel=False):
        await asyncio.sleep(0.05)
        closed.append(stream)

    monkeypatch.setattr(MockStream, "close", slow)
    monkeypatch.setattr(AsyncMockStream, "close", slow_asynchronous)
    servers = pair()
    servers.one.fault = at(1, fault="cut before")
    with servers.video as video:
        assert [video.track(content).frame_index for content in frames(2)] == [0, 1]
    assert len(closed) == 2


@pytest.mark.parametrize("resilient", [False, True])
def test_a_process_ends_though_a_video_is_open_and_camera_and_server_are_stuck(resilient):
    toy, asked, over = ToyTracker(), threading.Event(), threading.Event()

    def handler(request):
        if toy.videos:
            asked.set()
            over.wait()
        return toy(request)

    code = LEAVING.format(resilient=resilient)
    with (
        serving(handler) as (url, _, _),
        subprocess.Popen([sys.executable, "-c", code, url], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process,
    ):
        try:
            assert process.stdout.readline() == b"0\n"
            assert asked.wait(60), "a frame is on its way that nobody answers"
            process.communicate(b"\n", timeout=60)
        finally:
            process.kill()
            over.set()
    assert process.returncode == 0

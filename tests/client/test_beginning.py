"""The first request of a video carries START. Only that one, whatever is refused and however many callers there are."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from masklet import BadFrame, ServerBusy, Tracker, results
from masklet.connection.session import Session
from masklet.testing import Refusal, answered
from tests.fakes.toy_tracker import Server, ToyTracker

FRAME = np.zeros((24, 32, 3), dtype=np.uint8)
FULL = Refusal("MASKLET_SERVER_BUSY: 64 videos are live. Retry later.")


def test_frames_behind_the_first_are_held_until_it_is_answered():
    session, toy = Session("test:1", 1, 30), ToyTracker()
    asked = [session.frame(FRAME) for _ in range(3)]
    (first,) = session.ready()
    assert first.start
    assert list(session.ready()) == []
    session.resolve(answered(first, toy(first)))
    rest = list(session.ready())
    assert [request.start for request in rest] == [False, False]
    for request in rest:
        session.resolve(answered(request, toy(request)))
    assert [pending.result().frame_index for pending in asked] == [0, 1, 2]


def test_what_is_held_may_be_used_again_by_the_caller():
    session, toy, frame = Session("test:1", 1, 30), ToyTracker(), FRAME.copy()
    for value in (1, 2, 3):
        frame[:] = value
        session.frame(frame)
    (first,) = session.ready()
    session.resolve(answered(first, toy(first)))
    assert [int(request.tensors["FRAME"].max()) for request in session.ready()] == [2, 3]


def test_a_full_server_refuses_each_frame_in_flight_and_the_video_begins_when_there_is_room(open_video):
    server, got = Server(dict.fromkeys(range(5), FULL)), []
    with open_video(server, timeout_s=5, video_id=1) as video:
        video.prompt(7, points=[(1, 2)])
        results = video.track_many([FRAME] * 8, in_flight=4)
        for _ in range(5):
            with pytest.raises(ServerBusy, match="64 videos are live"):
                next(results)
        got = [next(results) for _ in range(3)]
    assert [result.frame_index for result in got] == [0, 1, 2]
    assert [result.object_ids for result in got] == [(7,)] * 3, "the prompt waited with the video"
    assert server.flags == ["S"] * 6 + ["", "", "E"]


def test_a_first_frame_that_cannot_be_read_costs_only_itself(open_video):
    server = Server({0: Refusal("MASKLET_BAD_FRAME: no. Mend it.")})
    with open_video(server, timeout_s=5) as video:
        results = video.track_many([FRAME] * 4, in_flight=4)
        with pytest.raises(BadFrame):
            next(results)
        assert [result.frame_index for result in results] == [0, 1, 2]
    assert server.flags == ["S", "S", "", "", "E"]


def test_two_threads_begin_one_video_once(monkeypatch):
    plain = results.read

    def slow(*args):
        time.sleep(0.05)  # the first answer is read while the second frame is asked for
        return plain(*args)

    monkeypatch.setattr(results, "read", slow)
    server = Server()
    with Tracker("test:1", transport=server.transport, timeout_s=5) as tracker, tracker.open() as video, ThreadPoolExecutor(4) as pool:
        video.prompt(3, points=[(1, 2)])
        waits = []
        for _ in range(4):
            waits.append(pool.submit(video.track, FRAME))
            time.sleep(0.03)
        got = [wait.result() for wait in waits]
    assert sorted(result.frame_index for result in got) == [0, 1, 2, 3]
    assert all(result.object_ids == (3,) for result in got)
    assert server.flags == ["S", "", "", "", "E"]


def test_prompts_given_by_one_thread_while_another_sends_are_neither_lost_nor_sent_twice():
    server = Server()
    with Tracker("test:1", transport=server.transport, timeout_s=5) as tracker, tracker.open() as video, ThreadPoolExecutor(2) as pool:
        sends = pool.submit(lambda: [video.track(FRAME) for _ in range(300)])
        gives = pool.submit(lambda: [video.prompt(number, points=[(1, 2)]) for number in range(300)])
        sends.result(), gives.result()
        video.track(FRAME)
    given = [item["object"] for items in server.prompts for item in items]
    assert sorted(given) == list(range(300))

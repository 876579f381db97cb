"""The gRPC transport over a real connection, for both clients."""

from __future__ import annotations

import asyncio
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import numpy as np
import pytest

from masklet import AsyncTracker, ServerUnavailable, Tls, Tracker, VideoLost
from masklet.connection.session import Session
from masklet.transport.grpc_transport import _Events, _Outbox
from tests.fakes.toy_grpc import serving
from tests.fakes.toy_tracker import ENCODED_SIZE, ToyTracker, toy_mask

FRAME = np.random.default_rng(0).integers(0, 256, (24, 32, 3), dtype=np.uint8)
BLACK = np.zeros_like(FRAME)
LONG_S = 60.0  # nobody waits that long where all is well


def held_on_black(handler, over):
    """The handler, which answers black frames when `over` is set."""

    def handle(request):
        if "FRAME" in request.tensors and not request.tensors["FRAME"].any():
            over.wait(LONG_S)
        return handler(request)

    return handle


def becomes(condition):
    """Whether the condition becomes true."""
    deadline = time.monotonic() + LONG_S
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.01)
    return condition()


def test_a_video_over_the_wire_is_the_video_that_was_sent(make_tracker):
    received = []
    toy = ToyTracker()

    def handler(request):
        received.append(request)
        return toy(request)

    with serving(handler) as (url, servicer, _):
        with make_tracker(url, headers={"Authorization": "Bearer x"}) as tracker, tracker.open("cam/é") as video:
            video.prompt(4, points=[(1, 2)])
            video.prompt(9, mask=np.ones((24, 32), dtype=bool))
            for result in video.track_many([FRAME, FRAME[:, ::-1], b"jpeg"]):
                size = ENCODED_SIZE if result.frame_index == 2 else (24, 32)
                assert result.object_ids == (4, 9)
                np.testing.assert_array_equal(result.masks, [toy_mask(size, result.frame_index, object_id) for object_id in (4, 9)])
            state = video.snapshot()
            video.remove(4)
        with make_tracker(url) as tracker, tracker.open(12, state=state) as video:
            result = video.track(FRAME, logits=True)
    assert (result.frame_index, result.object_ids, result.logits.shape) == (3, (4, 9), (2, 8, 8))
    np.testing.assert_array_equal(received[0].tensors["FRAME"], FRAME.reshape(1, -1))
    np.testing.assert_array_equal(received[0].tensors["FRAME_SIZE"], [[24, 32]])
    np.testing.assert_array_equal(received[1].tensors["FRAME"], FRAME[:, ::-1].reshape(1, -1))
    assert received[2].tensors["FRAME_ENCODED"].tolist() == [[b"jpeg"]]
    assert {request.video_id for request in received} == {"cam/é", 12}
    assert set(servicer.models) == {"tracker"}
    assert [(header["x-video-id"], header.get("authorization")) for header in servicer.headers] == [("cam/%C3%A9", "Bearer x"), ("12", None)]
    assert toy.videos == {}
    assert servicer.ended == [True, True], "streams end in good order, they are not cut"


def test_threads_that_share_a_video_get_the_results_of_their_own_frames():
    with serving(ToyTracker()) as (url, _, _), Tracker(url, timeout_s=LONG_S) as tracker, tracker.open() as video, ThreadPoolExecutor(8) as pool:
        video.prompt(1, points=[(1, 2)])
        sizes = [(20 + number, 30) for number in range(24)]
        results = list(pool.map(lambda size: video.track(np.ones((*size, 3), dtype=np.uint8)), sizes))
    assert [result.masks.shape[1:] for result in results] == sizes
    assert sorted(result.frame_index for result in results) == list(range(24))


def test_tasks_that_share_a_video_get_the_results_of_their_own_frames():
    async def play(url):
        async with AsyncTracker(url, timeout_s=LONG_S) as tracker, tracker.open() as video:

            async def one_by_one():
                return [(await video.track(FRAME)).frame_index for _ in range(12)]

            async def many():
                return [result.frame_index async for result in video.track_many([FRAME] * 12)]

            return await asyncio.gather(*(video.track(FRAME) for _ in range(24))), await asyncio.gather(one_by_one(), many())

    with serving(ToyTracker()) as (url, _, _):
        at_once, in_turns = asyncio.run(play(url))
    assert [result.frame_index for result in at_once] == list(range(24))
    assert in_turns == [sorted(indices) for indices in in_turns]
    assert sorted(in_turns[0] + in_turns[1]) == list(range(24, 48))


def test_a_task_that_gives_up_does_not_shift_the_answers():
    async def play(url):
        async with AsyncTracker(url, timeout_s=LONG_S) as tracker, await tracker.open() as video:
            await video.track(FRAME)
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(video.track(BLACK), 0.02)
            over.set()
            return await video.track(FRAME)

    over = threading.Event()
    with serving(held_on_black(ToyTracker(), over)) as (url, _, _):
        assert asyncio.run(play(url)).frame_index == 2


def test_late_answers_do_not_reach_what_comes_after(make_tracker, monkeypatch):
    toy, over = ToyTracker(), threading.Event()
    with serving(held_on_black(toy, over)) as (url, servicer, _):
        tracker = make_tracker(url, timeout_s=LONG_S)
        video = tracker.open()
        video.track(FRAME)
        with monkeypatch.context() as hasty:
            hasty.setattr(Session, "patience", lambda session: 0.2)
            with pytest.raises(VideoLost, match="no answer for frame 1"):
                video.track(BLACK)
        over.set()
        assert becomes(lambda: servicer.over == 1), "the old stream is cut at once, not when the video is closed"
        video.close()
        assert toy.videos == {}
        assert len(servicer.headers) == 2, "END goes over a stream of its own"
        with tracker.open() as video:
            assert video.track(FRAME).frame_index == 0


def test_a_dying_server_loses_the_video(make_tracker):
    with serving(ToyTracker()) as (url, _, server), make_tracker(url, timeout_s=LONG_S) as tracker:
        video = tracker.open()
        video.track(FRAME)
        server.stop(None).wait()
        with pytest.raises(VideoLost, match=f"the stream to {url} broke while waiting for frame 1"):
            video.track(FRAME)
        with pytest.raises(VideoLost):
            video.track(FRAME)
        video.close()


def test_nobody_at_the_address(make_tracker):
    with serving(ToyTracker()) as (url, _, server):
        server.stop(None).wait()
        with make_tracker(url, timeout_s=LONG_S) as tracker, tracker.open() as video, pytest.raises(ServerUnavailable, match=url):
            video.track(FRAME)


def test_an_answer_that_is_not_understood_breaks_the_stream(make_tracker):
    def odd(request):
        answer = toy(request)
        return type(answer)({**answer.tensors, "SCORES": np.zeros(0, np.float16)})

    toy = ToyTracker()
    with serving(odd) as (url, _, _), make_tracker(url) as tracker, tracker.open() as video, pytest.raises(VideoLost, match=r"cannot be read.*FP16"):
        video.track(FRAME)


def test_every_video_has_a_connection_of_its_own(make_tracker):
    with serving(ToyTracker()) as (url, servicer, _), make_tracker(url) as tracker:
        for _ in range(3):
            tracker.open().track(FRAME)
        assert len(set(servicer.peers)) == 3


def test_videos_leave_no_threads_behind_whether_they_end_or_break(monkeypatch):
    def threads():
        return {thread for thread in threading.enumerate() if not thread.name.startswith("ThreadPoolExecutor")}  # those are the server's

    def breaks(tracker):
        with suppress(VideoLost), tracker.open() as video:
            video.track(FRAME)
            with monkeypatch.context() as hasty:
                hasty.setattr(Session, "patience", lambda session: 0.2)
                video.track(BLACK)
            raise AssertionError("it did not break")

    def ends(tracker):
        with tracker.open() as video:
            video.track(FRAME)

    over = threading.Event()
    with serving(held_on_black(ToyTracker(), over)) as (url, _, _), Tracker(url, timeout_s=LONG_S) as tracker:
        ends(tracker)
        before = threads()  # threads of other tests may still end, so the number says nothing
        for _ in range(3):
            ends(tracker)
            breaks(tracker)
        over.set()
        assert becomes(lambda: threads() <= before), threads() - before


@pytest.mark.parametrize(("url", "says"), [("http://localhost:8001", "without a scheme"), ("localhost", "has no port")], ids=["scheme", "no_port"])
def test_an_address_that_is_none_is_refused_with_advice(make_tracker, url, says):
    with pytest.raises(ValueError, match=says):
        make_tracker(url)


def test_half_a_client_certificate_is_refused():
    with pytest.raises(ValueError, match="together"):
        Tls(private_key="key.pem")


def test_a_missing_certificate_is_told_by_its_name(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"missing\.pem"):
        Tracker("localhost:1", tls=Tls(root_certificates=tmp_path / "missing.pem"))


def test_a_closed_stream_has_no_thread_of_grpcs_left_that_takes_requests():
    """It holds a lock of the call while it ends. A process that ended meanwhile hung."""
    outbox, taken, go_on, ended = _Outbox(), [], threading.Event(), threading.Event()

    def take():  # as gRPC does
        taken.extend(outbox)
        go_on.wait()
        ended.set()

    threading.Thread(target=take, daemon=True).start()
    outbox.put("request")
    assert becomes(lambda: taken)
    threading.Timer(0.2, go_on.set).start()
    outbox.close()
    assert taken == ["request"]
    assert ended.is_set()


def test_a_closed_stream_has_no_thread_of_grpcs_left_that_tells_how_the_call_ended():
    go_on, ended = threading.Event(), threading.Event()

    class Call:
        def add_callback(self, told):
            def spin():  # as gRPC does
                told()
                go_on.wait()
                ended.set()

            threading.Thread(target=spin, daemon=True).start()
            return True

    events = _Events(Call())
    threading.Timer(0.2, go_on.set).start()
    events.close()
    assert ended.is_set()

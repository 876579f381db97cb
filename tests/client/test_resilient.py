"""A video that survives its server: what is sent where, what the caller sees, what is told about it."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from weakref import WeakSet

import numpy as np
import pytest

from masklet import BadFrame, Resilience, ServerBusy, ServerFault, Tracker, UnknownObject
from masklet.recovery.replay_log import Entry
from masklet.testing import Refusal
from tests.client.conftest import LONG_S
from tests.fakes.plays import shown
from tests.fakes.toy_grpc import serving
from tests.fakes.toy_replicas import BAD_FRAME, Replica, at, frames, replicas, sent

POINT = {"points": [(1, 2)]}


def test_a_lost_stream_moves_the_video_and_the_caller_sees_only_its_results(pair, undisturbed):
    servers = pair()
    servers.one.fault = at(6, fault="cut after")
    began, at_first = time.monotonic(), time.time()
    with servers.video as video:
        video.prompt(1, **POINT)
        assert [shown(video.track(frame)) for frame in frames(9)] == undisturbed(frames(9))
        (interruption,) = video.interruptions
    passed, at_last = time.monotonic() - began, time.time()
    assert (interruption.cause, interruption.from_url, interruption.to_url, interruption.attempts) == ("broken", "a:1", "b:1", 1)
    assert interruption.frames_replayed == 2, "frames 4 and 5, since frame 3 came with a snapshot"
    assert "Socket closed" in interruption.reason
    assert 0 < interruption.seconds < passed
    assert at_first <= interruption.at <= at_last
    assert servers.other.videos == {}, "the video was ended where it was last"


def test_before_the_first_snapshot_the_video_begins_anew_with_its_prompts(pair, undisturbed):
    servers = pair()
    servers.one.fault = at(2, fault="cut before")
    with servers.video as video:
        video.prompt(1, **POINT)
        assert [shown(video.track(frame)) for frame in frames(3)] == undisturbed(frames(3))
    assert not any("STATE" in request.tensors for request in servers.to_other.requests)


def test_snapshots_are_the_clients_own_business_unless_they_are_asked_for(pair):
    servers = pair()
    with servers.video as video:
        assert [video.track(frame).snapshot for frame in frames(10)] == [None] * 10
        assert video.track(b"x", snapshot=True).snapshot is not None
    asked = [request.parameters.get("snapshot") for request in servers.to_one.requests]
    assert [number for number, one in enumerate(asked) if one] == [3, 7, 10]


@pytest.mark.parametrize("in_flight", [1, 3, 8])
def test_no_more_is_kept_and_replayed_than_the_settings_say(pair, undisturbed, in_flight, monkeypatch):
    living, make = WeakSet(), Entry.__init__

    def noted(entry, *args, **kwargs):
        make(entry, *args, **kwargs)
        living.add(entry)

    monkeypatch.setattr(Entry, "__init__", noted)
    servers, most = pair(), 0
    servers.one.fault = at(13, fault="cut before")
    with servers.video as video:
        video.prompt(1, **POINT)
        results = []
        for result in video.track_many(frames(30), in_flight=in_flight):
            results.append(shown(result))
            most = max(most, len(living))
        assert results == undisturbed(frames(30))
        assert video.interruptions[0].frames_replayed <= 3, "a snapshot comes with every fourth"
    assert 3 <= most <= 4 + in_flight


def test_an_array_may_be_used_again_after_it_was_sent(make_tracker):
    servers, transports = replicas(2)
    with make_tracker(list(servers), transport=transports).open(resilient=True) as video:
        frame = np.zeros((4, 4, 3), np.uint8)
        for value in (1, 2, 3, 4):
            frame[:] = value
            servers["a:1"].fault = at(0, fault="cut before" if value == 4 else None)
            video.track(frame)
        frame[:] = 5
    pixels = [int(request.tensors["FRAME"].max()) for request in transports["b:1"].requests if "FRAME" in request.tensors]
    assert pixels == [1, 2, 3, 4]


def test_a_request_of_the_callers_that_is_refused_is_told_once_and_never_sent_again(pair):
    servers = pair()
    with servers.video as video:
        video.track(b"0")
        with pytest.raises(BadFrame):
            video.track(BAD_FRAME)
        with pytest.raises(UnknownObject):
            video.remove(9)
        servers.one.fault = at(0, fault="cut before")
        assert video.track(b"1").frame_index == 1
    assert sent(servers.to_other) == [b"0", b"1"]


def test_no_room_for_one_more_object_is_the_callers_to_know(pair):
    servers = pair()
    with servers.video as video:
        video.track(b"0")
        servers.one.fault = at(0, fault=ServerBusy("no room for a further object. Retry later."))
        with pytest.raises(ServerBusy, match="further object"):
            video.track(b"1")
        assert video.track(b"2").frame_index == 1
    assert servers.other.starts == 0


def test_a_server_that_stops_under_a_live_video_is_left(pair):
    servers = pair()
    with servers.video as video:
        video.track(b"0")
        servers.one.fault = at(0, fault=Refusal("Server is stopping, scheduler for model has stopped accepting new inference requests"))
        assert video.track(b"1").frame_index == 1
        assert video.interruptions[0].cause == "failed"
    assert servers.other.starts == 1


@pytest.mark.parametrize(("fault", "cause"), [("stub", "failed"), ("fault after", "failed"), ("restart", "forgotten"), ("cut before", "broken")])
def test_every_kind_of_loss_is_survived_and_named(pair, undisturbed, fault, cause):
    servers = pair()
    servers.one.fault = at(5, fault=fault)
    with servers.video as video:
        video.prompt(1, **POINT)
        assert [shown(video.track(frame)) for frame in frames(8)] == undisturbed(frames(8))
        assert [interruption.cause for interruption in video.interruptions] == [cause]


def test_a_silent_server_is_given_up_after_the_watchdog_and_not_the_timeout(pair, undisturbed):
    servers = pair()
    servers.one.fault = at(2, fault="silent after")
    with servers.video as video:
        video.prompt(1, **POINT)
        began = time.monotonic()
        assert [shown(video.track(frame)) for frame in frames(4)] == undisturbed(frames(4))
        passed = time.monotonic() - began
        (interruption,) = video.interruptions
    assert interruption.cause == "silent"
    assert 0.05 <= interruption.waited_s < passed < LONG_S
    assert servers.one.videos == {}, "it may only have been slow, and has no use for the video any more"


def test_a_caller_that_was_away_does_not_take_its_own_silence_for_the_servers(make_tracker):
    def slow_at_first(_request):
        time.sleep(0 if replica.starts else 0.2)  # so that more frames are on their way with the first

    replica = Replica(slow_at_first)
    with serving(replica) as (url, _, _), make_tracker(url, timeout_s=30).open(resilient=Resilience(watchdog_s=4)) as video:
        results = video.track_many(frames(9), in_flight=4)
        assert next(results).frame_index == 0
        time.sleep(4.4)  # an asyncio caller that does this does not even receive
        assert [result.frame_index for result in results] == list(range(1, 9))
        assert video.interruptions == []


def test_a_request_that_servers_do_not_survive_is_not_brought_to_all_of_them(make_tracker):
    servers, transports = replicas(6)
    for server in servers.values():
        server.fault = lambda request: "cut before" if request.tensors.get("FRAME_ENCODED") == b"poison" else None
    with make_tracker(list(servers), transport=transports).open(resilient=True) as video:
        results = video.track_many([b"0", b"1", b"poison", b"2", b"3"], in_flight=4)
        assert [next(results).frame_index, next(results).frame_index] == [0, 1]
        with pytest.raises(ServerFault, match=r"3 servers were lost with frame 2 in hand.* The video goes on without it"):
            next(results)
        assert [next(results).frame_index, next(results).frame_index] == [2, 3]
    assert [server.starts for server in servers.values()] == [1, 1, 1, 1, 0, 0]


def test_a_request_that_could_not_be_sent_is_as_if_it_had_never_been_asked(pair):
    def fail(_request):
        raise MemoryError

    servers = pair()
    with servers.video as video:
        video.track(b"0")
        servers.one.fault = fail
        with pytest.raises(MemoryError):
            video.track(b"1")
        assert video.track(b"2").frame_index == 1
    assert sent(servers.to_other) == [b"0", b"2"]


def test_a_replay_that_comes_out_otherwise_is_not_passed_on(make_tracker):
    servers, transports = replicas(3)
    servers["a:1"].fault = at(3, fault="cut before")
    servers["b:1"].fault = at(0, fault="skip")
    with make_tracker(list(servers), transport=transports).open(resilient=True) as video:
        assert [video.track(frame).frame_index for frame in frames(5)] == [0, 1, 2, 3, 4]
        assert (video.interruptions[0].to_url, video.interruptions[0].attempts) == ("c:1", 2)


def test_threads_that_share_a_video_get_one_result_each_while_servers_die():
    with ExitStack() as stack:
        servers = [stack.enter_context(serving(Replica())) for _ in range(3)]
        tracker = stack.enter_context(Tracker([url for url, _, _ in servers]))
        video, pool = stack.enter_context(tracker.open(resilient=True)), stack.enter_context(ThreadPoolExecutor(6))
        indices: list[int] = []
        for _, _, server in servers:
            indices += [result.frame_index for result in pool.map(video.track, frames(20, first=len(indices)))]
            server.stop(None)
            servers_left = len(video.interruptions)
        assert sorted(indices) == list(range(60))
        assert servers_left == 2

"""A server that drains goes on with its videos until another one has taken them."""

from __future__ import annotations

import threading

import pytest

from masklet import Resilience
from tests.fakes.plays import shown
from tests.fakes.toy_replicas import at, frames, replicas, sent

POINT = {"points": [(1, 2)]}


def begun(video):
    video.prompt(1, **POINT)
    return [shown(video.track(b"0"))]


@pytest.mark.parametrize("in_flight", [1, 4])
def test_a_video_leaves_a_server_that_drains_and_nothing_is_lost(pair, undisturbed, in_flight):
    servers = pair(Resilience(snapshot_every=100, watchdog_s=0.05))
    with servers.video as video:
        results = begun(video)
        servers.one.draining = True
        results += [shown(result) for result in video.track_many(frames(20, first=1), in_flight=in_flight)]
        assert results == undisturbed(frames(21))
        (interruption,) = video.interruptions
        assert servers.one.videos == {}, "it was ended there, so that the server can stop"
    assert not [thread for thread in threading.enumerate() if thread.name == "masklet-leaving"]
    assert (interruption.cause, interruption.from_url, interruption.to_url) == ("draining", "a:1", "b:1")
    assert interruption.frames_replayed <= in_flight, "the snapshot is a fresh one"
    assert servers.other.starts == 1


def test_the_old_server_goes_on_until_another_has_taken_the_video(pair, undisturbed):
    servers = pair()
    with servers.video as video:
        results = begun(video)
        servers.one.draining = servers.other.draining = True
        results += [shown(video.track(frame)) for frame in frames(60, first=1)]
        assert (servers.one.starts, servers.other.starts, video.interruptions) == (1, 0, [])
        refused = sum("STATE" in request.tensors for request in servers.to_other.requests)
        assert 1 <= refused < 30, "not with every frame"
        servers.other.draining = False
        while not video.interruptions:
            results.append(shown(video.track(str(len(results)).encode())))
            assert len(results) < 20_000
        assert results == undisturbed(frames(len(results)))
        assert video.interruptions[0].attempts == refused + 1
        assert video.interruptions[0].frames_replayed <= 1, "each attempt has a fresh snapshot"
    assert len(set(sent(servers.to_one))) + 2 >= len(results), "but for the last, all were answered by the old one"


def test_behind_one_address_the_video_stays_until_the_gateway_sends_it_elsewhere(make_tracker, undisturbed):
    (servers, transports), turns = replicas(2), iter("aaab")

    class Gateway:
        """Sends each new stream to the next server in turn."""

        def open_stream(self, headers):
            return transports[f"{next(turns)}:1"].open_stream(headers)

        def open_async_stream(self, headers):
            return transports[f"{next(turns)}:1"].open_async_stream(headers)

    with make_tracker("gateway:1", transport=Gateway()).open(resilient=True) as video:
        results = begun(video)
        servers["a:1"].draining = True
        while not video.interruptions:
            results.append(shown(video.track(str(len(results)).encode())))
        assert results == undisturbed(frames(len(results)))
        (interruption,) = video.interruptions
        assert (interruption.from_url, interruption.to_url, interruption.attempts) == ("gateway:1", "gateway:1", 3)
        assert (servers["a:1"].videos, len(servers["b:1"].videos)) == ({}, 1)


def test_a_draining_server_that_dies_first_is_a_loss_like_any_other(pair, undisturbed):
    servers = pair()
    with servers.video as video:
        results = begun(video)
        servers.one.draining = servers.other.draining = True
        results += [shown(video.track(frame)) for frame in frames(9, first=1)]
        servers.other.draining = False
        servers.one.fault = at(0, fault="cut after")
        results += [shown(video.track(frame)) for frame in frames(9, first=10)]
        assert results == undisturbed(frames(19))
        assert [interruption.cause for interruption in video.interruptions] == ["broken"]


def test_a_candidate_that_does_not_answer_costs_no_frame_and_memory_stays_bounded(make_tracker, undisturbed):
    servers, transports = replicas(3)
    servers["b:1"].fault = lambda request: "silent before"
    settings = Resilience(snapshot_every=4, watchdog_s=0.05)
    with make_tracker(list(servers), timeout_s=0.2, transport=transports).open(resilient=settings) as video:
        results = begun(video)
        servers["a:1"].draining = True
        results += [shown(video.track(frame)) for frame in frames(15, first=1)]
        assert results == undisturbed(frames(16))
        (interruption,) = video.interruptions
    assert interruption.to_url == "c:1"
    assert len(sent(transports["a:1"])) < 12, "when it was 4 frames behind it was waited for"


def test_a_video_that_is_closed_on_its_way_is_ended_everywhere(pair):
    servers = pair()
    begun(servers.video)
    servers.one.draining = True
    servers.video.track(b"1")
    servers.video.track(b"2")
    servers.video.close()
    assert (servers.one.videos, servers.other.videos) == ({}, {})

"""A video whose snapshot no server takes: it is not uploaded again and again, and its owner gets it."""

from __future__ import annotations

import pytest

from masklet import BadState, FrameTooLarge, Resilience, VideoLost
from masklet.testing import Refusal
from tests.fakes.plays import shown
from tests.fakes.toy_replicas import at, frames, replicas

PATIENT = Resilience(snapshot_every=4, watchdog_s=2, give_up_s=3600)
POINT = {"points": [(1, 2)]}


def uploads(transport):
    return sum("STATE" in request.tensors for request in transport.requests)


def refusing(error):
    """A fault: whoever brings a snapshot is refused."""
    return lambda request: Refusal(error.wire()) if "STATE" in request.tensors else None


def begin(video):
    video.prompt(1, **POINT)
    return [shown(video.track(frame)) for frame in frames(5)]


@pytest.mark.parametrize("error", [BadState("it has 300 MiB, the limit is 256."), FrameTooLarge("no.")], ids=["bad_state", "too_large"])
def test_each_server_is_asked_once_and_then_the_owner_has_the_state_and_the_reason(pair, error, make_tracker):
    servers = pair(PATIENT)
    results = begin(servers.video)
    servers.one.fault = lambda request: "cut before" if "STATE" not in request.tensors else Refusal(error.wire())
    servers.other.fault = refusing(error)
    with pytest.raises(VideoLost, match=rf"every server refused.*b:1: {error}.*a:1: {error}.*`state`") as caught:
        servers.video.track(b"5")
    assert (uploads(servers.to_one), uploads(servers.to_other)) == (1, 1)
    assert isinstance(caught.value.__cause__, type(error))
    with pytest.raises(VideoLost, match="every server refused"):
        servers.video.track(b"6")
    servers.video.close()
    assert (uploads(servers.to_one), uploads(servers.to_other)) == (1, 1)
    assert caught.value.state_index == 3
    servers.one.fault = lambda request: None
    with make_tracker("a:1", transport=servers.to_one).open(state=caught.value.state) as restored:
        assert shown(restored.track(b"4")) == results[4]


def test_behind_one_address_it_is_asked_once(make_tracker):
    servers, transports = replicas(1)
    with make_tracker("a:1", transport=transports).open(resilient=PATIENT) as video:
        begin(video)
        servers["a:1"].fault = lambda request: "cut before" if "STATE" not in request.tensors else Refusal(BadState("damaged.").wire())
        with pytest.raises(VideoLost, match="damaged"):
            video.track(b"5")
    assert uploads(transports["a:1"]) == 1


def test_a_server_that_refuses_is_passed_over_and_one_that_comes_back_is_taken(make_tracker, undisturbed, monkeypatch):
    monkeypatch.setattr("masklet.recovery.options._LONGEST_DELAY_S", 0.001)
    servers, transports = replicas(3)
    with make_tracker(list(servers), transport=transports).open(resilient=PATIENT) as video:
        results = begin(video)
        servers["a:1"].fault = lambda request: "cut before"
        servers["b:1"].fault = refusing(BadState("another variant."))
        servers["c:1"].fault = at(*range(8), fault="cut before")
        results += [shown(video.track(frame)) for frame in frames(3, first=5)]
        assert results == undisturbed(frames(8))
        assert video.interruptions[0].to_url == "c:1"
    assert uploads(transports["b:1"]) == 1
    assert uploads(transports["c:1"]) == 9


def test_a_frame_that_another_server_does_not_take_again_counts_like_the_snapshot(pair):
    servers = pair(PATIENT)
    begin(servers.video)
    servers.one.fault = lambda request: "cut before"
    refused = Refusal(FrameTooLarge("its limit is lower.").wire())
    servers.other.fault = lambda request: refused if request.tensors.get("FRAME_ENCODED") == b"4" else None
    servers.one.fault = lambda request: "cut before" if request.tensors.get("FRAME_ENCODED") == b"5" else servers.other.fault(request)
    with pytest.raises(VideoLost, match=r"every server refused.*its limit is lower"):
        servers.video.track(b"5")
    servers.video.close()
    assert (uploads(servers.to_one), uploads(servers.to_other)) == (1, 1)


def test_a_video_that_no_other_server_takes_stays_where_it_is_while_that_drains(pair, undisturbed):
    servers = pair(PATIENT)
    results = begin(servers.video)
    servers.one.draining = True
    servers.other.fault = refusing(BadState("another variant."))
    with servers.video as video:
        results += [shown(video.track(frame)) for frame in frames(30, first=5)]
        assert results == undisturbed(frames(35))
        assert uploads(servers.to_other) == 1
        servers.other.fault = lambda request: None
        servers.one.fault = at(0, fault="cut before")
        assert [shown(video.track(b"35"))] == undisturbed(frames(36))[35:], "when it is lost, everybody is asked once more"

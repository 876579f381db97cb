"""How a resilient video looks for a server: in which order, how often, under which id, and for how long."""

from __future__ import annotations

import time

import pytest

from masklet import BadFrame, BadRequest, BadState, Resilience, ServerBusy, VideoLost
from masklet.recovery.options import delay_s
from tests.client.conftest import LONG_S
from tests.fakes.plays import shown
from tests.fakes.toy_replicas import BAD_FRAME, at, frames, replicas

POINT = {"points": [(1, 2)]}


def test_a_busy_server_is_left_at_once_for_another(pair, monkeypatch):
    for name in ("_FIRST_DELAY_S", "_LONGEST_DELAY_S"):  # who waits gives up
        monkeypatch.setattr(f"masklet.recovery.options.{name}", 10_000.0)
    servers = pair()
    servers.one.draining = True
    with servers.video as video:
        assert video.track(b"0").frame_index == 0
        assert video.interruptions == [], "it had not begun"
    assert servers.other.starts == 1


def test_when_all_are_busy_they_are_asked_again_after_a_while(pair):
    servers, asked = pair(Resilience(watchdog_s=0.05, give_up_s=20)), []

    def note(request):
        asked.extend([time.monotonic()] * request.start)
        servers.one.draining = len(asked) < 3

    servers.one.draining = servers.other.draining = True
    servers.other.fault = note
    with servers.video as video:
        assert video.track(b"0").frame_index == 0
    assert len(asked) == 3
    assert servers.one.starts == 1


def test_a_busy_replica_that_would_have_to_take_a_live_video_is_passed_over(pair, undisturbed):
    servers = pair()
    servers.one.fault = at(5, fault="cut before")
    servers.other.fault = at(0, fault=ServerBusy("the memories of this snapshot do not fit into this server now. Retry later."))
    with servers.video as video:
        video.prompt(1, **POINT)
        assert [shown(video.track(frame)) for frame in frames(8)] == undisturbed(frames(8))
        assert (video.interruptions[0].to_url, video.interruptions[0].attempts) == ("a:1", 2)


def test_a_server_is_sent_one_request_until_it_has_taken_the_video(pair):
    servers = pair()
    servers.one.fault = at(3, fault="cut before")
    servers.other.draining = True
    with servers.video as video:
        for frame in frames(4):
            video.track(frame)
    assert [request.end for request in servers.to_other.requests] == [False, True], "and END, for the place that it has in Triton"


def test_when_no_server_is_left_the_error_has_the_state(pair, make_tracker):
    servers = pair(Resilience(snapshot_every=4, watchdog_s=0.05, give_up_s=2))
    video = servers.video
    video.prompt(1, **POINT)
    results = [shown(video.track(frame)) for frame in frames(6)]
    asked: list[str] = []
    servers.one.fault = lambda request: asked.append("a:1") or "cut before"
    servers.other.fault = lambda request: asked.append("b:1") or "cut before"
    began = time.monotonic()
    with pytest.raises(VideoLost, match=r"within 2 s, in \d+ attempts .*\. The last one: .*Socket closed.*`state`") as caught:
        video.track(b"6")
    assert 2 <= time.monotonic() - began < LONG_S
    lost, *attempts = asked  # how many there is time for is a matter of the machine
    assert (lost, attempts[0]) == ("a:1", "b:1")
    assert f"in {len(attempts)} attempts ({', '.join(dict.fromkeys(attempts))})" in str(caught.value)
    assert caught.value.state_index == 3
    with pytest.raises(VideoLost, match="no server took"):
        video.track(b"7")
    video.close()
    servers.one.fault = lambda request: None
    with make_tracker("a:1", transport=servers.to_one).open(state=caught.value.state) as restored:
        assert [shown(restored.track(frame)) for frame in frames(2, first=4)] == results[4:]


def test_a_video_that_never_began_gives_up_without_a_state(pair):
    servers = pair(Resilience(watchdog_s=0.05, give_up_s=0.1))
    servers.one.fault = servers.other.fault = lambda request: "cut before"
    with pytest.raises(VideoLost, match="Open a new one and prompt again") as caught:
        servers.video.track(b"0")
    assert (caught.value.state, caught.value.state_index) == (None, None)
    servers.video.close()


def test_a_pause_of_the_caller_is_no_part_of_the_search(pair):
    with pair(Resilience(watchdog_s=0.05, give_up_s=0.1)).video as video:
        with pytest.raises(BadFrame):
            video.track(BAD_FRAME)
        time.sleep(0.15)
        assert video.track(b"0").frame_index == 0


def test_a_bad_state_is_told_at_once(pair):
    with pytest.raises(BadState, match="not a whole snapshot"):
        pair(state=b"no snapshot")
    with pytest.raises(BadRequest, match="state must be"):
        pair(state=b"")


def test_a_resilient_video_can_begin_from_a_snapshot_and_be_lost_at_once(pair, undisturbed):
    first = pair().video
    first.prompt(1, **POINT)
    for frame in frames(3):
        first.track(frame)
    servers = pair(state=first.snapshot())
    servers.one.fault = at(0, fault="cut before")
    with servers.video as video:
        assert [shown(video.track(frame)) for frame in frames(2, first=3)] == undisturbed(frames(5))[3:]
        assert video.interruptions[0].frames_replayed == 0
    first.close()


@pytest.mark.parametrize(("given", "kind"), [(5, int), ("cam/é", str), ("é" * 64, str), (None, int)], ids=["int", "text", "long", "none"])
def test_every_attempt_has_an_id_of_its_own_in_request_and_header(pair, given, kind):
    servers = pair(**({} if given is None else {"video_id": given}))
    with servers.video as video:
        assert given in (None, video.video_id)
        first = video.video_id
        video.track(b"0")
        servers.one.fault, servers.other.fault = at(0, fault="cut before"), at(0, fault="cut before")
        video.track(b"1")
        assert video.video_id != first
    transports = (servers.to_one, servers.to_other)
    ids = [request.video_id for transport in transports for request in transport.requests if request.start]
    assert len(set(ids)) == len(ids) == 3
    assert all(isinstance(video_id, kind) and len(str(video_id).encode()) <= 128 for video_id in ids)
    assert len({header["x-video-id"] for transport in transports for header in transport.headers}) == 3
    if kind is str:
        assert all(video_id.startswith(given[:59]) for video_id in ids), "still to be recognised in logs"


def test_several_servers_are_for_resilient_videos_others_take_the_first(make_tracker):
    servers, transports = replicas(2)
    servers["a:1"].draining = True
    with make_tracker(list(servers), transport=transports).open() as video, pytest.raises(ServerBusy):
        video.track(b"0")
    with pytest.raises(ValueError, match="at least one server"):
        make_tracker([])


def test_close_says_nothing_of_a_server_that_is_gone(pair, monkeypatch):
    monkeypatch.setattr("masklet.connection.session._END_S", LONG_S)
    servers = pair()
    servers.video.track(b"0")
    servers.one.fault = lambda request: "silent before"
    began = time.monotonic()
    servers.video.close()
    servers.video.close()
    assert time.monotonic() - began < LONG_S, "it waits for the watchdog of 0.05 s, and then no longer"
    with pytest.raises(VideoLost, match="closed"):
        servers.video.track(b"1")


def test_delays_are_spread_over_all_their_range_and_bounded():
    for rounds, longest in ((1, 0.1), (2, 0.2), (5, 1.6), (6, 2.0), (10_000, 2.0)):
        delays = [delay_s(rounds) for _ in range(400)]
        assert 0 <= min(delays) < 0.1 * longest
        assert 0.9 * longest < max(delays) <= longest


def test_each_silence_in_a_row_makes_the_client_more_patient_up_to_the_timeout(make_tracker):
    assert [Resilience(watchdog_s=3).patience_s(20, silences) for silences in (0, 1, 2, 3, 10_000)] == [3, 6, 12, 20, 20]
    assert Resilience().patience_s(30, 0) == 10
    servers, transports = replicas(4)
    for url in "abc":
        servers[f"{url}:1"].fault = lambda request: "silent before"
    began = time.monotonic()
    with make_tracker(list(servers), timeout_s=0.15, transport=transports).open(resilient=Resilience(watchdog_s=0.06)) as video:
        video.track(b"0")
        assert time.monotonic() - began >= 0.06 + 0.12 + 0.15


@pytest.mark.parametrize("wrong", [{"snapshot_every": 0}, {"watchdog_s": 0}, {"give_up_s": -1}], ids=str)
def test_settings_that_make_no_sense_are_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Resilience(**wrong)


def test_a_watchdog_that_outlasts_the_timeout_is_refused(make_tracker):
    with pytest.raises(ValueError, match="watchdog_s is 9, more than the tracker's timeout_s of 5"):
        make_tracker("a:1", timeout_s=5).open(resilient=Resilience(watchdog_s=9))

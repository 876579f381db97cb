"""A video that a full replica refuses: under which other ids it begins, behind a gateway that chooses by the id, and when its client waits."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from masklet import Resilience, ServerBusy, VideoLost
from masklet.connection.session import Session
from masklet.recovery.recovery import Recovery
from masklet.testing import MockTransport, Refusal, Request
from tests.client.conftest import LONG_S
from tests.fakes.plays import shown
from tests.fakes.toy_replicas import Replica, Reply, at, frames

FULL = ServerBusy("2 videos are live, which is this server's limit. Retry in 7 s, or open the video on another server.")
OBJECT = ServerBusy("the objects of this request grow by 1.0 MiB. Retry in 7 s, or remove objects.")
POINT = {"points": [(1, 2)]}


class Gateway:
    """One address for several replicas. Those that are full come first: each new id goes to the next one, and stays there."""

    def __init__(self, full: int, count: int | None = None, error: ServerBusy = FULL) -> None:
        self.replicas = [Replica(lambda request: error if request.start else None) for _ in range(full)]
        self.replicas += [Replica() for _ in range((count or full + 1) - full)]
        self.transport = MockTransport(self)
        self._next = itertools.cycle(self.replicas)
        self._places: dict[int | str, Replica] = {}

    def __call__(self, request: Request) -> Reply:
        if request.video_id not in self._places:
            self._places[request.video_id] = next(self._next)
        return self._places[request.video_id](request)

    @property
    def ids(self) -> list[int | str]:
        """Those that videos had, in order."""
        return list(self._places)

    def asked(self, video_id: int | str) -> list[str]:
        """The flags of all requests under an id."""
        return ["S" * request.start + "E" * request.end for request in self.transport.requests if request.video_id == video_id]


@pytest.fixture
def open_at(make_tracker):
    def make(gateway: Gateway, **opened):
        return make_tracker("gateway:1", timeout_s=LONG_S, transport=gateway.transport).open(**opened)

    return make


@pytest.mark.parametrize("error", [FULL, ServerBusy("this server is draining: it will stop.")], ids=["full", "draining"])
def test_a_plain_video_begins_under_another_id_with_all_that_it_was_sent(open_at, undisturbed, error):
    gateway = Gateway(full=2, error=error)
    with open_at(gateway) as video:
        before = video.video_id
        video.prompt(1, **POINT)
        assert [shown(video.track(frame)) for frame in frames(3)] == undisturbed(frames(3))
        first, second, third = gateway.ids
        assert (first, third) == (before, video.video_id)
    assert [header["x-video-id"] for header in gateway.transport.headers] == [str(one) for one in gateway.ids], "a gateway goes by it"
    assert gateway.asked(first) == gateway.asked(second) == ["S", "E"], "a refused video has a place in Triton until END"
    assert gateway.asked(third) == ["S", "", "", "E"]


def test_frames_in_flight_wait_for_the_place_that_the_first_one_finds(open_at, undisturbed):
    gateway = Gateway(full=1)
    with open_at(gateway) as video:
        video.prompt(1, **POINT)
        assert [shown(result) for result in video.track_many(frames(5), in_flight=4)] == undisturbed(frames(5))
    assert [gateway.asked(one) for one in gateway.ids] == [["S", "E"], ["S", "", "", "", "", "E"]]


def test_pixels_go_elsewhere_as_they_were_though_the_caller_has_used_the_array_again():
    session, frame = Session("gateway:1", None, 30), np.full((2, 2, 3), 1, np.uint8)
    session.frame(frame)
    (start,) = session.ready()
    frame[:] = 2
    session.resolve(Refusal(FULL.wire(), start.id))
    session.leave()
    (again,) = session.ready()
    assert (again.start, again.tensors["FRAME"].max()) == (True, 1)


def test_a_snapshot_that_a_full_replica_does_not_take_is_taken_by_another(open_at, undisturbed):
    with open_at(Gateway(full=0)) as video:
        video.prompt(1, **POINT)
        for frame in frames(3):
            video.track(frame)
        state = video.snapshot()
    with open_at(Gateway(full=1), state=state) as restored:
        assert [shown(restored.track(frame)) for frame in frames(2, first=3)] == undisturbed(frames(5))[3:]


def test_a_plain_video_has_three_ids_and_then_its_caller_decides_when_to_try_again(open_at, undisturbed):
    gateway = Gateway(full=4)
    with open_at(gateway) as video:
        video.prompt(1, **POINT)
        with pytest.raises(ServerBusy, match=r"2 videos are live.*The prompts of objects \[1\] go with the next frame") as refused:
            video.track(b"0")
        assert refused.value.retry_after_s == 7
        assert len(gateway.ids) == 3
        assert [shown(video.track(frame)) for frame in frames(2)] == undisturbed(frames(2))
        assert len(gateway.ids) == 5, "the next call begins with the id that was refused last, and has two more"


def test_an_id_that_the_caller_chose_stays(open_at):
    gateway = Gateway(full=1)
    with open_at(gateway, video_id="camera 1") as video:
        with pytest.raises(ServerBusy):
            video.track(b"0")
        assert gateway.ids == ["camera 1"]


def test_a_live_video_that_may_not_have_another_object_stays_where_it_is(open_at):
    gateway = Gateway(full=0, count=2)
    with open_at(gateway) as video:
        video.track(b"0")
        gateway.replicas[0].fault = at(0, fault=OBJECT)
        video.prompt(1, **POINT)
        with pytest.raises(ServerBusy, match="remove objects"):
            video.track(b"1")
        assert video.track(b"2").frame_index == 1
        assert len(gateway.ids) == 1


def test_what_is_closed_begins_nowhere_else():
    session = Session("gateway:1", None, 30)
    pending = session.frame(np.zeros((2, 2, 3), np.uint8))
    (start,) = session.ready()
    session.end()
    session.resolve(Refusal(FULL.wire(), start.id))
    assert session.leave() is None
    with pytest.raises(ServerBusy):
        pending.result()


def test_what_another_thread_closes_between_the_refusal_and_the_new_beginning_begins_nowhere_else():
    """Else END would be waited for on a stream that it never went to."""
    session = Session("gateway:1", None, 30)
    pending = session.frame(np.zeros((2, 2, 3), np.uint8))
    (start,) = session.ready()
    session.resolve(Refusal(FULL.wire(), start.id))
    _, end = session.end()
    assert session.leave() is None
    assert (end.video_id, list(session.ready())) == (start.video_id, [])
    with pytest.raises(VideoLost, match="closed"):
        pending.result()


def test_to_be_told_twice_of_one_refusal_costs_one_id():
    """As after Ctrl-C, which leaves the event where it was."""
    session, ids = Session("gateway:1", None, 30), []
    session.frame(np.zeros((2, 2, 3), np.uint8))
    for _ in range(3):
        (start,) = session.ready()
        ids.append(start.video_id)
        refusal = Refusal(FULL.wire(), start.id)
        session.resolve(refusal)
        session.resolve(refusal)
        end = session.leave()
        assert session.lost is None
        assert end is None or (end.start, end.end, end.video_id) == (False, True, start.video_id)
        session.resolve(refusal)
        assert session.leave() is None
    assert end is None
    assert len(set(ids)) == 3


class Clock:
    """Of the search; and every delay is as long as it can be."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 0.0
        for name in ("time", "monotonic"):
            monkeypatch.setattr(f"masklet.recovery.recovery.time.{name}", lambda: self.now)
        monkeypatch.setattr("masklet.recovery.options.random.uniform", lambda low, high: high)


def waits(monkeypatch: pytest.MonkeyPatch, urls: int, *errors: ServerBusy) -> list[float]:
    """How long the client waits after each of these answers."""
    clock = Clock(monkeypatch)
    recovery = Recovery([f"{name}:1" for name in "abcdef"[:urls]], "broken", None, "a:1", 0.0)
    waited = []
    for error in errors:
        recovery.next_url()
        recovery.failed("failed", error)
        waited.append(recovery.due - clock.now)
    return waited


def busy(seconds: int | None) -> ServerBusy:
    return ServerBusy(f"full. Retry in {seconds} s." if seconds else "draining.")


def test_behind_one_address_three_ids_are_tried_soon_and_then_as_the_replicas_say(monkeypatch):
    assert waits(monkeypatch, 1, busy(20), busy(8), busy(30), busy(30), busy(30)) == [0.1, 0.2, 12, 12, 45]


def test_of_several_addresses_all_are_asked_at_once_before_anybody_waits(monkeypatch):
    assert waits(monkeypatch, 4, *[busy(4)] * 8) == [0, 0, 0, 6] * 2
    assert waits(monkeypatch, 2, *[busy(4)] * 4) == [0, 0.1, 0, 6]


def test_where_one_is_not_full_but_drains_or_is_gone_nobody_waits_for_room(monkeypatch):
    assert waits(monkeypatch, 1, busy(9), busy(9), busy(None), busy(9), busy(9)) == [0.1, 0.2, 0.4, 0.8, 1.6]


def test_those_who_were_told_the_same_come_back_at_different_times(monkeypatch):
    recovery = Recovery(["a:1"], "broken", None, "a:1", 0.0)
    due = []
    for _ in range(300):
        monkeypatch.setattr("masklet.recovery.recovery.time.monotonic", lambda: 0.0)
        recovery.next_url()
        recovery.failed("failed", busy(10))
        due.append(recovery.due)
    assert 5 <= min(due[3:]) < 6
    assert 14 < max(due) <= 15


def test_a_resilient_video_waits_for_the_room_that_all_replicas_promise(make_tracker, undisturbed, monkeypatch):
    asked: list[float] = []
    monkeypatch.setattr("masklet.recovery.recovery.spread_s", lambda seconds: asked.append(seconds) or 0.0)
    gateway = Gateway(full=5)
    with make_tracker("gateway:1", timeout_s=LONG_S, transport=gateway.transport).open(resilient=Resilience(watchdog_s=LONG_S)) as video:
        video.prompt(1, **POINT)
        assert [shown(video.track(frame)) for frame in frames(2)] == undisturbed(frames(2))
    assert asked == [7.0] * 3
    assert len(gateway.ids) == 6
    assert all(gateway.asked(video_id) == ["S", "E"] for video_id in gateway.ids[:5]), "no place stays taken"

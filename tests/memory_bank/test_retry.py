"""In how many seconds a full bank tells who was refused to ask again."""

from __future__ import annotations

import pytest

from masklet.errors import ServerBusy, from_server
from masklet_bank.service import Service
from tests.fakes.bank_driver import VARIANT, Client, RecordingStages, click, service


class Clock:
    """Seconds since the bank began."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def begun(held: Service, video: int) -> Client:
    client = Client(held, video)
    client.send(click(1, (5, 5)))
    return client


def refused(held: Service, **sent) -> float | None:
    """The hint that a new video gets."""
    with pytest.raises(ServerBusy) as error:
        Client(held, 999).send(click(1, (5, 5)), **sent)
    return from_server(error.value.wire()).retry_after_s


def test_it_goes_by_how_often_videos_end():
    clock = Clock()
    held = service(RecordingStages(), clock=clock, max_videos=2, idle_seconds=10_000)
    begun(held, 1)
    last = begun(held, 100)
    assert refused(held) == 30, "nothing has ended, and nothing expires within the longest wait"
    for number in range(5):
        clock.now += 7
        last.send(control=True, end=True)
        last = begun(held, 101 + number)
    assert refused(held) == 6, "five ends in 28 s"
    clock.now += 7
    assert refused(held) == 7, "five ends in 35 s"
    clock.now += 1000
    assert refused(held) == 30, "that was long ago"
    for number in range(50):
        clock.now += 0.1
        last.send(control=True, end=True)
        last = begun(held, 201 + number)
    assert refused(held) == 1, "and not sooner"


def test_it_is_when_the_most_silent_video_expires_if_that_is_sooner():
    clock = Clock()
    held = service(RecordingStages(), clock=clock, max_videos=2, idle_seconds=75)
    _, live = begun(held, 1), begun(held, 2)
    clock.now = 63.5
    live.send()
    assert refused(held) == 12
    clock.now = 75
    assert refused(held) == 1, "it expires with the next look"


def test_what_never_had_room_is_no_sign_that_there_will_be_some():
    """Probes begin and end in one request, and a snapshot that finds no room begins nothing."""
    elsewhere = Client(service(RecordingStages()))
    elsewhere.send(click(1, (5, 5)), click(2, (5, 5)))
    state = elsewhere.send(control=True, snapshot=True)["SNAPSHOT"]
    held = service(RecordingStages(), max_bytes=VARIANT.object_bytes() * 5 // 2)
    begun(held, 1)
    for _ in range(20):
        Client(held, 999).send(end=True)
        with pytest.raises(ServerBusy, match=r"Retry in 30 s, or remove"):
            Client(held, 999).send(control=True, restore=state)
    begun(held, 2)
    assert refused(held, end=True) == 30, "no room for its object"
    assert refused(held) == 30


def test_it_comes_with_every_refusal_for_want_of_room_and_not_from_a_server_that_drains(tmp_path):
    held = service(RecordingStages(), max_bytes=VARIANT.object_bytes() * 3 // 2, drain_file=tmp_path / "drain")
    live = begun(held, 1)
    with pytest.raises(ServerBusy, match=r"this server may use\. Retry in 30 s, or remove objects\.$"):
        live.send(click(2, (5, 5)))
    assert refused(held) == 30
    (tmp_path / "drain").touch()
    assert refused(held) is None

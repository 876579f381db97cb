"""When frames of a live video are sent: hours of a camera before a server, in simulated time, with the very rules of the client."""

from __future__ import annotations

import random

import pytest

from benchmarks.simulated import Answered, SimulatedClient
from masklet.connection.flow import Flow

HOUR_S = 3600


def ages(client: SimulatedClient, begin: float = 0.0, end: float = float("inf")) -> list[float]:
    return sorted(one.answered - one.came for one in client.answers if begin <= one.answered < end)


def beyond_two_frame_times(client: SimulatedClient) -> list[Answered]:
    """Results older than two frame times of the server, plus transport and what a frame waits for its turn: one of the camera's."""
    allowed = 2 * client.transport_s + 1 / client.rate
    return [one for one in client.answers if one.answered - one.came > 2 * one.longest + allowed]


@pytest.mark.parametrize(("rate", "server"), [(30, 10), (30, 25), (15, 30), (60, 7)])
def test_an_hour_of_a_camera_has_no_result_older_than_two_frame_times(rate: int, server: int) -> None:
    chance = random.Random(rate)
    client = SimulatedClient(Flow(), rate, lambda _: chance.uniform(0.8, 1.2) / server).play(HOUR_S * rate)
    assert beyond_two_frame_times(client) == []
    assert client.most == (2 if rate > server else 1)
    found = ages(client)
    assert found[len(found) // 2] < 1.5 / server + 1 / rate + 2 * client.transport_s
    assert len(found) > 0.97 * HOUR_S * min(rate, server), "the server works all the time, or on every frame"


def test_a_server_that_becomes_slow_and_fast_again_has_no_queue() -> None:
    client = SimulatedClient(Flow(), 30, lambda now: 1.0 if 100 <= now < 200 else 0.05).play(300 * 30)
    assert beyond_two_frame_times(client) == []
    assert client.most == 2
    assert len(ages(client, 250)) > 0.97 * 50 * 20


@pytest.mark.parametrize("deadline_s", [0.11, 0.15, 0.19])
def test_a_deadline_is_kept_by_jumping_over_frames(deadline_s: float) -> None:
    client = SimulatedClient(Flow(deadline_s), 30, lambda _: 0.1, transport_s=0.001).play(600 * 30)
    assert ages(client)[-1] <= deadline_s
    assert len(client.answers) > 600 * 4, "between those that come in time the server is not idle for a whole frame"


def test_a_deadline_that_cannot_be_kept_costs_no_frame_its_turn_and_is_kept_again_later() -> None:
    client = SimulatedClient(Flow(0.09), 30, lambda now: 0.2 if now < 100 else 0.04).play(300 * 30)
    slow, longest = ages(client, 0, 100), 0.2 + 1 / 30 + 2 * client.transport_s
    assert len(slow) > 100 / longest - 5, "one at a time, one after the other"
    assert slow[-1] < longest
    late = ages(client, 110)
    assert late[-1] <= 0.09
    assert len(late) > 190 * 15


def test_nothing_else_is_sent_before_the_first_answer() -> None:
    flow = Flow()
    assert flow.due == 0.0
    flow.sent(5.0)
    assert flow.due is None
    flow.answered(6.0)
    assert (flow.answer_s, flow.due) == (1.0, 6.0)
    flow.sent(6.5)
    assert flow.due == 7.0, "half of an answer's time after it began"
    flow.sent(7.0)
    assert flow.due is None, "two are on their way"


def test_an_answer_that_was_not_looked_at_in_time_makes_no_server_slow() -> None:
    flow = Flow(deadline_s=2.0)
    flow.sent(0.0)
    flow.answered(1.0)
    flow.sent(1.0)
    flow.answered(101.0, unwatched=True)
    assert (flow.answer_s, flow.beyond) == (1.0, False)
    flow.sent(101.0)
    flow.answered(101.2, unwatched=True)
    assert flow.answer_s == pytest.approx(0.8), "it took even less than that"


def test_a_server_that_is_a_little_too_slow_is_asked_again_and_not_given_up() -> None:
    flow = Flow(deadline_s=0.125)
    flow.sent(0.0)
    flow.answered(0.123)
    late = [now for now in (1 + number / 64 for number in range(30)) if flow.in_time(now - 0.005, now)]
    assert late[0] == 1 + 9 / 64, "a deadline after the first frame that would have come too late"
    flow.sent(late[0])
    flow.answered(late[0] + 0.05)
    assert flow.in_time(late[0] + 0.25, late[0] + 0.255)

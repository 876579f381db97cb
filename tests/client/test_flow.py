"""When frames of a live video are sent: hours of a camera before a server, in simulated time, with the very rules of the client."""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from masklet.connection.flow import Flow

HOUR_S = 3600.0


@dataclass
class Run:
    """What a client that follows does, one event after the other.

    service  seconds that the server works on the frame that it begins at this time
    """

    flow: Flow
    rate: float
    service: Callable[[float], float]
    transport_s: float = 0.002
    ages: list[tuple[float, float, float]] = field(default_factory=list)  # when a result came, its age, the longest service while it was on its way
    most: int = 0
    busy_s: float = 0.0

    def play(self, seconds: float) -> Run:
        events: list[tuple[float, int, str]] = [(number / self.rate, number, "frame") for number in range(int(seconds * self.rate))]
        heapq.heapify(events)
        slot: float | None = None  # when the newest frame came that nobody took
        on_way: list[tuple[float, float]] = []  # when the frame came; the longest service
        free = 0.0  # when the server has nothing to do
        while events:
            now, _, what = heapq.heappop(events)
            if what == "frame":
                slot = now
            elif what == "answer":
                came, longest = on_way.pop(0)
                self.flow.answered(now)
                self.ages.append((now, now - came, longest))
            due = self.flow.due
            if due is None or slot is None:
                continue
            if due > now:
                heapq.heappush(events, (due, 0, "due"))
                continue
            if not self.flow.beyond and not self.flow.in_time(slot, now):
                slot = None
                continue
            begin = max(free, now + self.transport_s)
            took = self.service(begin)
            free, self.busy_s = begin + took, self.busy_s + took
            on_way.append((slot, max([took, *(longest for _, longest in on_way)])))
            self.flow.sent(now)
            self.most, slot = max(self.most, len(on_way)), None
            heapq.heappush(events, (free + self.transport_s, 1, "answer"))
        return self

    def beyond_two_frame_times(self) -> list[tuple[float, float, float]]:
        """Results older than two frame times of the server, plus transport and what a frame waits for its turn: one of the camera's."""
        return [one for one in self.ages if one[1] > 2 * one[2] + 2 * self.transport_s + 1 / self.rate]


@pytest.mark.parametrize(("rate", "server"), [(30, 10), (30, 25), (15, 30), (60, 7)])
def test_an_hour_of_a_camera_has_no_result_older_than_two_frame_times(rate: int, server: int) -> None:
    chance = random.Random(rate)
    run = Run(Flow(), rate, lambda _: chance.uniform(0.8, 1.2) / server).play(HOUR_S)
    assert run.beyond_two_frame_times() == []
    assert run.most == (2 if rate > server else 1)
    ages = sorted(age for _, age, _ in run.ages)
    assert ages[len(ages) // 2] < 1.5 / server + 1 / rate + 2 * run.transport_s
    assert len(run.ages) > 0.97 * HOUR_S * min(rate, server), "the server works all the time, or on every frame"


def test_a_server_that_becomes_slow_and_fast_again_has_no_queue() -> None:
    run = Run(Flow(), 30, lambda now: 1.0 if 100 <= now < 200 else 0.05).play(300)
    assert run.beyond_two_frame_times() == []
    assert run.most == 2
    assert sum(1 for when, *_ in run.ages if when > 250) > 0.97 * 50 * 20


@pytest.mark.parametrize("deadline_s", [0.11, 0.15, 0.19])
def test_a_deadline_is_kept_by_jumping_over_frames(deadline_s: float) -> None:
    run = Run(Flow(deadline_s), 30, lambda _: 0.1, transport_s=0.001).play(600)
    assert max(age for _, age, _ in run.ages) <= deadline_s
    assert len(run.ages) > 600 * 4, "between those that come in time the server is not idle for a whole frame"


def test_a_deadline_that_cannot_be_kept_costs_no_frame_its_turn_and_is_kept_again_later() -> None:
    run = Run(Flow(0.09), 30, lambda now: 0.2 if now < 100 else 0.04).play(300)
    slow = [age for when, age, _ in run.ages if when < 100]
    assert len(slow) > 100 / (0.2 + 1 / 30 + 2 * run.transport_s) - 5, "one at a time, one after the other"
    assert max(slow) < 0.2 + 1 / 30 + 2 * run.transport_s
    late = [age for when, age, _ in run.ages if when > 110]
    assert max(late) <= 0.09
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

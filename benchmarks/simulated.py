"""A camera before a server, in simulated time, with the very rules by which the client sends (`masklet.connection.flow`)."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from masklet.connection.flow import Flow


@dataclass(frozen=True)
class Answered:
    """A frame that was tracked: its number among all that came; when it came, and when its answer; the longest frame time of the server meanwhile."""

    index: int
    came: float
    answered: float
    longest: float


@dataclass
class SimulatedClient:
    """What a client that follows does, one event after the other. Times in seconds.

    rate         frames per second of the camera
    service      what the server takes for the frame that it begins at this time
    transport_s  one way
    most         frames that were on their way at a time
    """

    flow: Flow
    rate: float
    service: Callable[[float], float]
    transport_s: float = 0.002
    answers: list[Answered] = field(default_factory=list)
    most: int = 0

    def play(self, frames: int) -> SimulatedClient:
        """So many frames of the camera."""
        events = [(number / self.rate, number, "frame") for number in range(frames)]
        heapq.heapify(events)
        newest: int | None = None  # that nobody took
        on_way: list[tuple[int, float]] = []  # and the longest frame time so far
        free = 0.0  # when the server has nothing to do
        while events:
            now, number, what = heapq.heappop(events)
            if what == "frame":
                newest = number
            elif what == "answer":
                index, longest = on_way.pop(0)
                self.flow.answered(now)
                self.answers.append(Answered(index, index / self.rate, now, longest))
            due = self.flow.due
            if due is None or newest is None:
                continue
            if due > now:
                heapq.heappush(events, (due, 0, "due"))
                continue
            if not self.flow.beyond and not self.flow.in_time(newest / self.rate, now):
                newest = None
                continue
            begin = max(free, now + self.transport_s)
            took = self.service(begin)
            free = begin + took
            on_way = [(index, max(longest, took)) for index, longest in on_way] + [(newest, max([took, *(longest for _, longest in on_way)]))]
            self.flow.sent(now)
            self.most, newest = max(self.most, len(on_way)), None
            heapq.heappush(events, (free + self.transport_s, 1, "answer"))
        return self


def queued(frames: int, rate: float, service: Callable[[float], float], transport_s: float = 0.002) -> list[Answered]:
    """The same for a client that tracks every frame, one after the other: what it has not come to yet waits, and the queue grows."""
    answered, made = 0.0, []
    for index in range(frames):
        begin = max(answered, index / rate) + transport_s
        took = service(begin)
        answered = begin + took + transport_s
        made.append(Answered(index, index / rate, answered, took))
    return made


def newest_at(answers: Sequence[Answered], now: float) -> int | None:
    """The frame of the newest answer that is there; None before the first."""
    return max((one.index for one in answers if one.answered <= now), default=None)

"""The session of a resilient video alone: events of several servers come in any order, and requests are on their way when they do."""

from __future__ import annotations

from collections import deque

import numpy as np
import pytest

from masklet import BadFrame, Resilience, TrackedFrame
from masklet.connection import operations
from masklet.connection.operations import Operation, Operations
from masklet.connection.pending import PendingResult
from masklet.errors import MaskletError
from masklet.recovery.attempt import Attempt
from masklet.recovery.attempts import Close, Open, Send
from masklet.recovery.session import ResilientSession
from masklet.testing import Broken, Refusal, answered
from masklet.transport.protocol import Event
from tests.fakes.plays import shown
from tests.fakes.toy_replicas import BAD_FRAME, replicas, sent

CUT = Broken("UNAVAILABLE Socket closed")


@pytest.fixture(autouse=True)
def at_once(monkeypatch):
    """No delays; and requests are not to blame for what is done to them here."""
    monkeypatch.setattr("masklet.recovery.session._LOSSES", 1000)
    monkeypatch.setattr("masklet.recovery.options._LONGEST_DELAY_S", 0.0)


class Hand:
    """Carries out a session's commands at once, but brings it an event only when told to."""

    def __init__(self, count: int = 2, every: int = 4) -> None:
        self.servers, self.transports = replicas(count)
        self.session = ResilientSession(list(self.servers), None, 30, Resilience(snapshot_every=every, give_up_s=3600))
        self.events: dict[Attempt, deque[Event]] = {}

    def add(self, operation: Operation) -> PendingResult:
        pending = self.session.add(operation)
        self._work()
        return pending

    def bring(self, attempt: Attempt, event: Event | None = None) -> None:
        self.session.take(attempt, event or self.events[attempt].popleft())
        self.session.tick(waited=True)
        self._work()

    def bring_all(self, pending: PendingResult) -> None:
        while pending.outcome is None:
            self.session.tick(waited=True)
            self._work()
            for attempt in [attempt for attempt, events in self.events.items() if events]:
                self.bring(attempt)

    def attempt(self, url: str) -> Attempt:
        return next(attempt for attempt in self.events if attempt.url == url)

    def _work(self) -> None:
        while self.session.commands:
            match self.session.commands.popleft():
                case Open(attempt):
                    self.events[attempt] = deque()
                case Send(attempt, request):
                    transport = self.transports[attempt.url]
                    transport.requests.append(request)
                    reply = self.servers[attempt.url](request)
                    event = answered(request, Refusal(reply.wire()) if isinstance(reply, MaskletError) else reply)
                    assert event is not None
                    self.events[attempt].append(event)
                case Close(attempt, cancel):
                    if cancel:
                        del self.events[attempt]


def frame(content: bytes) -> Operation:
    return Operations().frame(content)


def moving() -> Hand:
    """A video of three frames on a server that drains; the other server was sent the snapshot of the third."""
    hand = Hand(every=100)
    hand.bring_all(hand.add(frame(b"0")))
    hand.servers["a:1"].draining = True
    for content in (b"1", b"2"):
        hand.add(frame(content))
        hand.bring(hand.attempt("a:1"))
    assert [request.start for request in hand.transports["b:1"].requests] == [True]
    return hand


def test_what_is_refused_while_a_video_moves_does_not_move_with_it():
    hand = moving()
    refused, after = hand.add(frame(BAD_FRAME)), hand.add(frame(b"3"))
    hand.bring(hand.attempt("a:1"))
    hand.bring(hand.attempt("a:1"))
    assert isinstance(refused.outcome, BadFrame)
    assert isinstance(after.outcome, TrackedFrame)
    hand.bring(hand.attempt("b:1"))
    assert sent(hand.transports["b:1"]) == [b"3"]


def test_what_is_on_its_way_when_a_video_moves_is_answered_by_the_new_server_alone():
    hand = moving()
    results = [hand.add(frame(content)) for content in (b"3", b"4")]
    old = hand.attempt("a:1")
    hand.bring(hand.attempt("b:1"))
    hand.bring(old)
    assert [pending.outcome for pending in results] == [None, None], "the old one has nothing to say any more"
    hand.bring_all(results[1])
    assert [pending.result().frame_index for pending in results] == [3, 4]
    assert hand.transports["a:1"].requests[-1].end


def test_a_snapshot_that_comes_while_a_video_moves_does_not_disturb_the_move():
    hand = moving()
    hand.bring_all(hand.add(operations.snapshot()))
    hand.add(frame(b"3"))
    hand.bring(hand.attempt("a:1"))
    hand.bring(hand.attempt("b:1"))
    last = hand.add(frame(b"4"))
    hand.bring_all(last)
    assert last.result().frame_index == 4
    assert sent(hand.transports["b:1"]) == [b"3", b"4"]


def test_a_snapshot_that_comes_before_an_earlier_answer_does_not_stand_for_it():
    """Answers are paired by id, so they may come in any operation; what has no answer yet must still be replayed when the attempt is lost."""
    hand = Hand(every=3)
    hand.bring_all(hand.add(frame(b"0")))
    results = [hand.add(frame(content)) for content in (b"1", b"2")]
    events = hand.events[hand.attempt("a:1")]
    events.rotate(1)
    hand.bring(hand.attempt("a:1"))
    assert [pending.outcome is None for pending in results] == [True, False]
    hand.bring(hand.attempt("a:1"), CUT)
    hand.bring_all(results[0])
    assert [pending.result().frame_index for pending in results] == [1, 2]
    assert sent(hand.transports["b:1"]) == [b"0", b"1", b"2"]


def test_an_answer_that_is_overdue_is_still_waited_for_a_moment_since_it_may_be_here_already(monkeypatch):
    hand = Hand()
    hand.add(frame(b"0"))
    attempt = hand.attempt("a:1")
    monkeypatch.setattr(attempt.session, "patience", lambda: 0.0)
    assert hand.session.waits() == (attempt, pytest.approx(0.5))  # a twentieth of 10 s


def test_any_order_of_events_leaves_every_outcome_as_it_was():
    moves = 0
    for seed in range(150):
        rng = np.random.default_rng(seed)
        asked = [frame(BAD_FRAME if rng.random() < 0.1 else str(number).encode()) for number in range(25)]
        asked[0] = Operation("the first frame", asked[0].options, [{"object": 1, "points": [[1, 1]], "labels": [1]}], frame(b"0").tensors)
        hand, results = Hand(3, every=5), []
        while len(results) < len(asked):
            _happen(rng, hand, results, asked)
        hand.bring_all(results[-1])
        moves += len(hand.session.interruptions)
        assert [_seen(pending) for pending in results] == _undisturbed(asked), f"seed {seed}"
    assert moves > 300


def _happen(rng: np.random.Generator, hand: Hand, results: list[PendingResult], asked: list[Operation]) -> None:
    ready = [attempt for attempt, events in hand.events.items() if events]
    chance = rng.random()
    if chance < 0.4 and sum(pending.outcome is None for pending in results) < 5:
        results.append(hand.add(asked[len(results)]))
    elif chance < 0.9 and ready:
        hand.bring(ready[rng.integers(len(ready))])
    elif chance < 0.95 and hand.session.attempts:
        hand.bring(hand.session.attempts[rng.integers(len(hand.session.attempts))], CUT)
    elif chance > 0.97:
        server = hand.servers[str(rng.choice(list(hand.servers)))]
        server.draining = not server.draining and sum(other.draining for other in hand.servers.values()) < 2
    else:
        hand.session.tick(waited=True)


def _undisturbed(asked: list[Operation]) -> list[object]:
    hand = Hand(1)
    results = [hand.add(operation) for operation in asked]
    hand.bring_all(results[-1])
    return [_seen(pending) for pending in results]


def _seen(pending: PendingResult) -> object:
    return shown(pending.outcome) if isinstance(pending.outcome, TrackedFrame) else type(pending.outcome)

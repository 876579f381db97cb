"""The keeper alone: events of several servers come in any order, and requests are on their way when they do."""

from __future__ import annotations

from collections import deque

import numpy as np
import pytest

from masklet import BadFrame, Broken, Refusal, Resilience, TrackedFrame, orders
from masklet.errors import MaskletError
from masklet.mock import answered
from masklet.orders import Order, Orders
from masklet.resilience.keeper import Keeper
from masklet.resilience.link import Link
from masklet.resilience.route import Close, Open, Send
from masklet.ticket import Ticket
from masklet.transport import Event
from tests.fakes.plays import shown
from tests.fakes.toy_replicas import BAD_FRAME, replicas, sent

CUT = Broken("UNAVAILABLE Socket closed")


@pytest.fixture(autouse=True)
def at_once(monkeypatch):
    """No delays; and requests are not to blame for what is done to them here."""
    monkeypatch.setattr("masklet.resilience.keeper._LOSSES", 1000)
    monkeypatch.setattr("masklet.resilience.options._LONGEST_DELAY_S", 0.0)


class Hand:
    """Carries out a keeper's commands at once, but brings it an event only when told to."""

    def __init__(self, count: int = 2, every: int = 4) -> None:
        self.servers, self.transports = replicas(count)
        self.keeper = Keeper(list(self.servers), None, 30, Resilience(snapshot_every=every, give_up_s=3600))
        self.events: dict[Link, deque[Event]] = {}

    def add(self, order: Order) -> Ticket:
        ticket = self.keeper.add(order)
        self._work()
        return ticket

    def bring(self, link: Link, event: Event | None = None) -> None:
        self.keeper.take(link, event or self.events[link].popleft())
        self.keeper.tick(waited=True)
        self._work()

    def bring_all(self, ticket: Ticket) -> None:
        while ticket.outcome is None:
            self.keeper.tick(waited=True)
            self._work()
            for link in [link for link, events in self.events.items() if events]:
                self.bring(link)

    def link(self, url: str) -> Link:
        return next(link for link in self.events if link.url == url)

    def _work(self) -> None:
        while self.keeper.commands:
            match self.keeper.commands.popleft():
                case Open(link):
                    self.events[link] = deque()
                case Send(link, request):
                    transport = self.transports[link.url]
                    transport.requests.append(request)
                    reply = self.servers[link.url](request)
                    event = answered(request, Refusal(reply.wire()) if isinstance(reply, MaskletError) else reply)
                    assert event is not None
                    self.events[link].append(event)
                case Close(link, cancel):
                    if cancel:
                        del self.events[link]


def frame(content: bytes) -> Order:
    return Orders().frame(content)


def moving() -> Hand:
    """A video of three frames on a server that drains; the other server was sent the snapshot of the third."""
    hand = Hand(every=100)
    hand.bring_all(hand.add(frame(b"0")))
    hand.servers["a:1"].draining = True
    for content in (b"1", b"2"):
        hand.add(frame(content))
        hand.bring(hand.link("a:1"))
    assert [request.start for request in hand.transports["b:1"].requests] == [True]
    return hand


def test_what_is_refused_while_a_video_moves_does_not_move_with_it():
    hand = moving()
    refused, after = hand.add(frame(BAD_FRAME)), hand.add(frame(b"3"))
    hand.bring(hand.link("a:1"))
    hand.bring(hand.link("a:1"))
    assert isinstance(refused.outcome, BadFrame)
    assert isinstance(after.outcome, TrackedFrame)
    hand.bring(hand.link("b:1"))
    assert sent(hand.transports["b:1"]) == [b"3"]


def test_what_is_on_its_way_when_a_video_moves_is_answered_by_the_new_server_alone():
    hand = moving()
    tickets = [hand.add(frame(content)) for content in (b"3", b"4")]
    old = hand.link("a:1")
    hand.bring(hand.link("b:1"))
    hand.bring(old)
    assert [ticket.outcome for ticket in tickets] == [None, None], "the old one has nothing to say any more"
    hand.bring_all(tickets[1])
    assert [ticket.result().frame_index for ticket in tickets] == [3, 4]
    assert hand.transports["a:1"].requests[-1].end


def test_a_snapshot_that_comes_while_a_video_moves_does_not_disturb_the_move():
    hand = moving()
    hand.bring_all(hand.add(orders.snapshot()))
    hand.add(frame(b"3"))
    hand.bring(hand.link("a:1"))
    hand.bring(hand.link("b:1"))
    last = hand.add(frame(b"4"))
    hand.bring_all(last)
    assert last.result().frame_index == 4
    assert sent(hand.transports["b:1"]) == [b"3", b"4"]


def test_a_snapshot_that_comes_before_an_earlier_answer_does_not_stand_for_it():
    """Answers are paired by id, so they may come in any order; what has no answer yet must still be replayed when the link is lost."""
    hand = Hand(every=3)
    hand.bring_all(hand.add(frame(b"0")))
    tickets = [hand.add(frame(content)) for content in (b"1", b"2")]
    events = hand.events[hand.link("a:1")]
    events.rotate(1)
    hand.bring(hand.link("a:1"))
    assert [ticket.outcome is None for ticket in tickets] == [True, False]
    hand.bring(hand.link("a:1"), CUT)
    hand.bring_all(tickets[0])
    assert [ticket.result().frame_index for ticket in tickets] == [1, 2]
    assert sent(hand.transports["b:1"]) == [b"0", b"1", b"2"]


def test_an_answer_that_is_overdue_is_still_waited_for_a_moment_since_it_may_be_here_already(monkeypatch):
    hand = Hand()
    hand.add(frame(b"0"))
    link = hand.link("a:1")
    monkeypatch.setattr(link.session, "patience", lambda: 0.0)
    assert hand.keeper.waits() == (link, pytest.approx(0.5))  # a twentieth of 10 s


def test_any_order_of_events_leaves_every_outcome_as_it_was():
    moves = 0
    for seed in range(150):
        rng = np.random.default_rng(seed)
        asked = [frame(BAD_FRAME if rng.random() < 0.1 else str(number).encode()) for number in range(25)]
        asked[0] = Order("the first frame", asked[0].options, [{"object": 1, "points": [[1, 1]], "labels": [1]}], frame(b"0").tensors)
        hand, tickets = Hand(3, every=5), []
        while len(tickets) < len(asked):
            _happen(rng, hand, tickets, asked)
        hand.bring_all(tickets[-1])
        moves += len(hand.keeper.interruptions)
        assert [_seen(ticket) for ticket in tickets] == _undisturbed(asked), f"seed {seed}"
    assert moves > 300


def _happen(rng: np.random.Generator, hand: Hand, tickets: list[Ticket], asked: list[Order]) -> None:
    ready = [link for link, events in hand.events.items() if events]
    chance = rng.random()
    if chance < 0.4 and sum(ticket.outcome is None for ticket in tickets) < 5:
        tickets.append(hand.add(asked[len(tickets)]))
    elif chance < 0.9 and ready:
        hand.bring(ready[rng.integers(len(ready))])
    elif chance < 0.95 and hand.keeper.links:
        hand.bring(hand.keeper.links[rng.integers(len(hand.keeper.links))], CUT)
    elif chance > 0.97:
        server = hand.servers[str(rng.choice(list(hand.servers)))]
        server.draining = not server.draining and sum(other.draining for other in hand.servers.values()) < 2
    else:
        hand.keeper.tick(waited=True)


def _undisturbed(asked: list[Order]) -> list[object]:
    hand = Hand(1)
    tickets = [hand.add(order) for order in asked]
    hand.bring_all(tickets[-1])
    return [_seen(ticket) for ticket in tickets]


def _seen(ticket: Ticket) -> object:
    return shown(ticket.outcome) if isinstance(ticket.outcome, TrackedFrame) else type(ticket.outcome)

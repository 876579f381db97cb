"""What a caller holds of something asked until it has its outcome, and all of these of one video."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from masklet.orders import Order
from masklet.results import TrackedFrame
from masklet.transport import Request
from masklet.wire import Options


@dataclass(eq=False)
class Ticket:
    """Something asked. `outcome` is set once its event has come, and then never changes.

    prompted  the frame whose prompts are kept if it is refused, without its pixels; None where somebody else sees to that
    """

    waits_for: str  # for people: "frame 3"
    options: Options
    size: tuple[int, int] | None
    outcome: TrackedFrame | BaseException | None = None
    heard: bool = False  # the server has answered or refused it
    end: bool = False
    prompted: Order | None = None

    @property
    def unheard(self) -> BaseException | None:
        """The error, if it is not the server's word on this request."""
        return self.outcome if isinstance(self.outcome, BaseException) and not self.heard else None

    def result(self) -> TrackedFrame:
        """The outcome; an error is raised."""
        assert self.outcome is not None
        if isinstance(self.outcome, BaseException):
            raise self.outcome
        return self.outcome


Made = tuple[Ticket, Request]


def failed(error: BaseException) -> Ticket:
    """A ticket for what never became a request."""
    return Ticket("nothing", Options(), None, outcome=error)


class Tickets:
    """The tickets of one video that have no outcome yet.

    held     asked and not sent, with the order
    pending  sent, by the id of the request; oldest first, as asked
    """

    def __init__(self) -> None:
        self.held: deque[tuple[Ticket, Order]] = deque()
        self.pending: dict[str, Ticket] = {}

    @property
    def oldest_id(self) -> str | None:
        """The id of the oldest request that was sent."""
        return next(iter(self.pending), None)

    @property
    def oldest(self) -> Ticket | None:
        """The ticket of that."""
        return next(iter(self.pending.values()), None)

    def fail(self, error: Exception) -> None:
        """The outcome of all of them."""
        for ticket in self.pending.values():
            ticket.outcome = ticket.outcome or error
        self.pending.clear()
        self.fail_held(error)

    def fail_held(self, error: Exception) -> None:
        """What was not sent will not be."""
        for ticket, _ in self.held:
            ticket.outcome = error
        self.held.clear()

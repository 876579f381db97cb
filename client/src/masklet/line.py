"""What carries one video to a server and back: a line. `PlainLine` is one stream to one server.

`Video` is what callers see of a line. Calls that send give a ticket, without waiting; `settle` waits until it has its outcome.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from masklet.inputs import Frame
from masklet.resilience.report import Interruption
from masklet.session import Session
from masklet.ticket import Ticket
from masklet.transport import Broken, Event, Request, Stream
from masklet.turns import Turns

UNSENT = Broken("a request could not be sent")


def never() -> bool:
    """Nothing but the outcome ends the wait."""
    return False


class Line(Protocol):
    """What `Video` needs."""

    @property
    def video_id(self) -> int | str:
        """The correlation id of the video on its server."""

    @property
    def interruptions(self) -> Sequence[Interruption]:
        """What happened to the video so far."""

    def prompt(self, object_id: int, **prompt: Any) -> None:
        """See `Orders.prompt`."""

    def drop(self, object_id: int) -> bool:
        """See `Orders.drop`."""

    def frame(self, frame: Frame, **options: Any) -> Ticket:
        """Sends a frame."""

    def restore(self, state: bytes) -> Ticket:
        """Begins the video from a snapshot."""

    def remove(self, object_id: int) -> Ticket:
        """Forgets an object."""

    def snapshot(self) -> Ticket:
        """Asks for a snapshot."""

    def settle(self, ticket: Ticket, unless: Callable[[], bool] = never) -> None:
        """Waits until the ticket has its outcome; or, after `wake`, until `unless`."""

    def settled(self, ticket: Ticket) -> bool:
        """Whether the ticket has its outcome, without waiting."""

    def wake(self) -> None:
        """Lets those who wait look at their `unless`. Called from another thread."""

    def close(self) -> None:
        """Ends the video; called once."""


class PlainLine:
    """A line that a broken stream ends."""

    interruptions: Sequence[Interruption] = ()

    def __init__(self, session: Session, open_stream: Callable[[], Stream]) -> None:
        self._session = session
        self._open_stream = open_stream
        self._stream = open_stream()
        self._sending = threading.Lock()
        self._turns = Turns()

    @property
    def video_id(self) -> int | str:
        """See `Line`."""
        return self._session.video_id

    def prompt(self, object_id: int, **prompt: Any) -> None:
        """See `Line`."""
        self._session.prompt(object_id, **prompt)

    def drop(self, object_id: int) -> bool:
        """See `Line`."""
        return self._session.drop(object_id)

    def frame(self, frame: Frame, **options: Any) -> Ticket:
        """See `Line`."""
        return self._send(lambda: self._session.frame(frame, **options))

    def restore(self, state: bytes) -> Ticket:
        """See `Line`."""
        return self._send(lambda: self._session.restore(state))

    def remove(self, object_id: int) -> Ticket:
        """See `Line`."""
        return self._send(lambda: self._session.remove(object_id))

    def snapshot(self) -> Ticket:
        """See `Line`."""
        return self._send(self._session.snapshot)

    def settle(self, ticket: Ticket, unless: Callable[[], bool] = never) -> None:
        """See `Line`."""
        self._turns.wait(lambda: ticket.outcome is not None or unless(), self._receive)

    def settled(self, ticket: Ticket) -> bool:
        """See `Line`."""
        if ticket.outcome is None:
            self._turns.attempt(lambda: self._poll(ticket))
        return ticket.outcome is not None

    def wake(self) -> None:
        """See `Line`."""
        self._stream.wake()
        self._turns.wake()

    def close(self) -> None:
        """See `Line`. Raises VideoLost if the video was fine until now and the server does not answer."""
        try:
            failure = None if self._session.lost else self._end()
            if self._session.lost and self._session.must_end:  # lost by now: over a new stream, since late answers may come on the old one
                self._stream.close(cancel=True)
                self._stream = self._open_stream()
                failure = self._end() and failure
            if failure:
                raise failure
        finally:
            self._session.close()
            self._stream.close()

    def _end(self) -> BaseException | None:
        """Sends END. Gives the error if nobody heard it; what the server thinks of it does not matter."""
        if not self._session.must_end:
            return None
        with self._sending:
            ticket, request = self._session.end()
            self._put(request)
        self.settle(ticket)
        return ticket.unheard

    def _send(self, ask: Callable[[], Ticket]) -> Ticket:
        with self._sending:  # requests must be sent in the order in which they were asked
            ticket = ask()
            self._flush()
            return ticket

    def _flush(self) -> None:
        for request in self._session.ready():
            self._put(request)

    def _put(self, request: Request) -> None:
        try:
            self._stream.send(request)
        except BaseException:  # such as Ctrl-C: nobody knows whether the server gets the request
            self._session.resolve(UNSENT)
            raise

    def _receive(self) -> None:
        try:
            event = self._stream.receive(self._session.patience())
        except TimeoutError:
            self._session.expire()
            self._stream.close(cancel=True)
        else:
            if event:
                self._take(event)

    def _poll(self, ticket: Ticket) -> None:
        while ticket.outcome is None and (event := self._stream.poll()):
            self._take(event)

    def _take(self, event: Event) -> None:
        self._session.resolve(event)
        self._stream.advance()
        if isinstance(event, Broken):
            self._stream.close(cancel=True)
        else:
            with self._sending:
                self._flush()

"""A resilient video for threads: carries out what the keeper wants."""

from __future__ import annotations

import threading
from collections.abc import Callable

from masklet.line import never
from masklet.resilience.calls import Calls
from masklet.resilience.keeper import Keeper
from masklet.resilience.link import Link
from masklet.resilience.route import Close, Open, Send
from masklet.ticket import Ticket
from masklet.transport import Stream
from masklet.turns import Turns


class ResilientLine(Calls):
    """See `masklet.line.Line`. `open_stream` opens one to a url, for a video id."""

    def __init__(self, keeper: Keeper, open_stream: Callable[[str, int | str], Stream]) -> None:
        super().__init__(keeper)
        self._open_stream = open_stream
        self._streams: dict[Link, Stream] = {}
        self._leaving: list[threading.Thread] = []
        self._turns = Turns()
        self._woken = threading.Event()

    def settle(self, ticket: Ticket, unless: Callable[[], bool] = never) -> None:
        """See `Line`."""
        self._turns.wait(lambda: ticket.outcome is not None or unless(), self._listen)

    def settled(self, ticket: Ticket) -> bool:
        """See `Line`."""
        if ticket.outcome is None:
            self._turns.attempt(self._look)
        return ticket.outcome is not None

    def wake(self) -> None:
        """See `Line`."""
        self._woken.set()
        with self._lock:
            for stream in self._streams.values():
                stream.wake()
        self._turns.wake()

    def close(self) -> None:
        """See `Line`. A server that is lost by now frees the video by itself, after a while: that is no error."""
        try:
            with self._lock:
                ticket = self._keeper.end()
                self._carry_out()
            if ticket:
                self.settle(ticket)
        finally:
            with self._lock:
                self._keeper.close()
                self._carry_out()
            for thread in self._leaving:
                thread.join()

    def _listen(self) -> None:
        """Waits for what the keeper waits for, and does what follows from it."""
        with self._lock:
            link, seconds = self._keeper.waits()
            stream = self._streams.get(link) if link else None
        if stream is None:
            waited = not self._woken.wait(seconds)
            self._woken.clear()
        else:
            try:
                waited = stream.receive(seconds) is not None  # it is taken below
            except TimeoutError:
                waited = True
        with self._lock:
            self._catch_up(waited=waited)

    def _look(self) -> None:
        with self._lock:
            self._catch_up(waited=False)

    def _catch_up(self, *, waited: bool) -> None:
        """Takes all events that are there, and does what has to be done."""
        for link in self._keeper.links:
            while (stream := self._streams.get(link)) and (event := stream.poll()):
                self._take(link, event)
                stream.advance()
                self._carry_out()
        self._keeper.tick(waited=waited)
        self._carry_out()

    def _do(self, command: Open | Send | Close) -> None:
        link = command.link
        match command:
            case Open():
                self._streams[link] = self._open_stream(link.url, link.video_id)
            case Send(request=request):
                self._streams[link].send(request)
            case Close(cancel=True):
                self._streams.pop(link).close(cancel=True)
            case Close():  # its last answers take a while, and nobody needs to wait for them
                thread = threading.Thread(target=self._streams.pop(link).close, name="masklet-leaving", daemon=True)
                self._leaving.append(thread)
                thread.start()

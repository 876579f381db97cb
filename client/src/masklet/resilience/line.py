"""A resilient video for threads: carries out what the keeper wants."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from masklet.resilience.calls import Calls
from masklet.resilience.keeper import Keeper
from masklet.resilience.link import Link
from masklet.resilience.route import Close, Open, Send
from masklet.session import Ticket
from masklet.transport import Event, Stream


class ResilientLine(Calls):
    """See `masklet.line.Line`. `open_stream` opens one to a url, for a video id."""

    def __init__(self, keeper: Keeper, open_stream: Callable[[str, int | str], Stream]) -> None:
        super().__init__(keeper)
        self._open_stream = open_stream
        self._streams: dict[Link, Stream] = {}
        self._leaving: list[threading.Thread] = []
        self._waiting = threading.Lock()

    def settle(self, ticket: Ticket) -> None:
        """See `Line`."""
        with self._waiting:  # one thread waits; on the way it resolves the tickets of the others
            while ticket.outcome is None:
                with self._lock:
                    link, seconds = self._keeper.waits()
                    stream = self._streams.get(link) if link else None
                event = _next_event(stream, seconds)
                with self._lock:
                    if link and event:
                        self._keeper.take(link, event)
                    self._catch_up(waited=True)

    def settled(self, ticket: Ticket) -> bool:
        """See `Line`."""
        with self._waiting, self._lock:  # events must be taken in the order in which they came
            if ticket.outcome is None:
                self._catch_up(waited=False)
        return ticket.outcome is not None

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

    def _catch_up(self, *, waited: bool) -> None:
        """Takes all events that are there, and does what has to be done."""
        for link in self._keeper.links:
            while (stream := self._streams.get(link)) and (event := stream.poll()):
                self._keeper.take(link, event)
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
                thread = threading.Thread(target=self._streams.pop(link).close, name="masklet-leaving")
                self._leaving.append(thread)
                thread.start()


def _next_event(stream: Stream | None, seconds: float) -> Event | None:
    if stream is None:
        time.sleep(seconds)
        return None
    try:
        return stream.receive(seconds)
    except TimeoutError:
        return None

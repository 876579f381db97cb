"""A resilient video for asyncio: carries out what the keeper wants."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from masklet.resilience.calls import Calls
from masklet.resilience.keeper import Keeper
from masklet.resilience.link import Link
from masklet.resilience.route import Close, Open, Send
from masklet.session import Ticket
from masklet.transport import AsyncStream, Event


class AsyncResilientLine(Calls):
    """See `ResilientLine`."""

    def __init__(self, keeper: Keeper, open_stream: Callable[[str, int | str], AsyncStream]) -> None:
        super().__init__(keeper)
        self._open_stream = open_stream
        self._streams: dict[Link, AsyncStream] = {}
        self._closing: set[asyncio.Task[None]] = set()
        self._waiting = asyncio.Lock()

    async def settle(self, ticket: Ticket) -> None:
        """See `Line`."""
        async with self._waiting:  # one task waits; on the way it resolves the tickets of the others
            while ticket.outcome is None:
                link, seconds = self._keeper.waits()
                event = await _next_event(self._streams.get(link) if link else None, seconds)
                if link and event:
                    self._keeper.take(link, event)
                self._catch_up(waited=True)

    async def settled(self, ticket: Ticket) -> bool:
        """See `Line`."""
        async with self._waiting:  # events must be taken in the order in which they came
            if ticket.outcome is None:
                self._catch_up(waited=False)
        return ticket.outcome is not None

    async def close(self) -> None:
        """See `ResilientLine.close`."""
        try:
            ticket = self._keeper.end()
            self._carry_out()
            if ticket:
                await self.settle(ticket)
        finally:
            self._keeper.close()
            self._carry_out()
            await asyncio.gather(*self._closing)

    def _catch_up(self, *, waited: bool) -> None:
        """See `ResilientLine`."""
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
            case Close(cancel=cancel):
                task = asyncio.create_task(self._streams.pop(link).close(cancel=cancel))
                self._closing.add(task)
                task.add_done_callback(self._closing.discard)


async def _next_event(stream: AsyncStream | None, seconds: float) -> Event | None:
    if stream is None:
        await asyncio.sleep(seconds)
        return None
    try:
        return await stream.receive(seconds)
    except TimeoutError:
        return None

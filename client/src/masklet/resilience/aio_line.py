"""A resilient video for asyncio: carries out what the keeper wants."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress

from masklet.resilience.calls import Calls
from masklet.resilience.keeper import Keeper
from masklet.resilience.link import Link
from masklet.resilience.route import Close, Open, Send
from masklet.ticket import Ticket
from masklet.transport import AsyncStream
from masklet.turns import AsyncTurns


class AsyncResilientLine(Calls):
    """See `ResilientLine`."""

    def __init__(self, keeper: Keeper, open_stream: Callable[[str, int | str], AsyncStream]) -> None:
        super().__init__(keeper)
        self._open_stream = open_stream
        self._streams: dict[Link, AsyncStream] = {}
        self._closing: set[asyncio.Task[None]] = set()
        self._turns = AsyncTurns()

    async def settle(self, ticket: Ticket) -> None:
        """See `Line`."""
        await self._turns.wait(lambda: ticket.outcome is not None, self._listen)

    async def settled(self, ticket: Ticket) -> bool:
        """See `Line`."""
        if ticket.outcome is None:
            await self._turns.attempt(self._look)
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

    async def _listen(self) -> None:
        """See `ResilientLine`."""
        link, seconds = self._keeper.waits()
        stream = self._streams.get(link) if link else None
        if stream is None:
            await asyncio.sleep(seconds)
        else:
            with suppress(TimeoutError):
                await stream.receive(seconds)  # it is taken below
        self._catch_up(waited=True)

    async def _look(self) -> None:
        self._catch_up(waited=False)

    def _catch_up(self, *, waited: bool) -> None:
        """See `ResilientLine`."""
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
            case Close(cancel=cancel):
                task = asyncio.create_task(self._streams.pop(link).close(cancel=cancel))
                self._closing.add(task)
                task.add_done_callback(self._closing.discard)

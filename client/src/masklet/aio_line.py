"""The asyncio twin of `masklet.line`. What is not said here is said there."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from masklet.inputs import Frame
from masklet.line import UNSENT
from masklet.resilience.report import Interruption
from masklet.session import Session
from masklet.ticket import Ticket
from masklet.transport import AsyncStream, Broken, Event, Request
from masklet.turns import AsyncTurns


class AsyncLine(Protocol):
    """What `AsyncVideo` needs: see `Line`."""

    @property
    def video_id(self) -> int | str:
        """See `Line`."""

    @property
    def interruptions(self) -> Sequence[Interruption]:
        """See `Line`."""

    def prompt(self, object_id: int, **prompt: Any) -> None:
        """See `Line`."""

    def drop(self, object_id: int) -> bool:
        """See `Line`."""

    def frame(self, frame: Frame, **options: Any) -> Ticket:
        """See `Line`."""

    def restore(self, state: bytes) -> Ticket:
        """See `Line`."""

    def remove(self, object_id: int) -> Ticket:
        """See `Line`."""

    def snapshot(self) -> Ticket:
        """See `Line`."""

    async def settle(self, ticket: Ticket) -> None:
        """See `Line`."""

    async def settled(self, ticket: Ticket) -> bool:
        """See `Line`."""

    async def close(self) -> None:
        """See `Line`."""


class AsyncPlainLine:
    """See `PlainLine`."""

    interruptions: Sequence[Interruption] = ()

    def __init__(self, session: Session, open_stream: Callable[[], AsyncStream]) -> None:
        self._session = session
        self._open_stream = open_stream
        self._stream = open_stream()
        self._turns = AsyncTurns()

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

    async def settle(self, ticket: Ticket) -> None:
        """See `Line`."""
        await self._turns.wait(lambda: ticket.outcome is not None, self._receive)

    async def settled(self, ticket: Ticket) -> bool:
        """See `Line`."""
        if ticket.outcome is None:
            await self._turns.attempt(lambda: self._poll(ticket))
        return ticket.outcome is not None

    async def close(self) -> None:
        """See `PlainLine.close`."""
        try:
            failure = None if self._session.lost else await self._end()
            if self._session.lost and self._session.must_end:  # lost by now: over a new stream, since late answers may come on the old one
                await self._stream.close(cancel=True)
                self._stream = self._open_stream()
                failure = await self._end() and failure
            if failure:
                raise failure
        finally:
            self._session.close()
            await self._stream.close()

    async def _end(self) -> BaseException | None:
        """See `PlainLine._end`."""
        if not self._session.must_end:
            return None
        ticket, request = self._session.end()
        self._put(request)
        await self.settle(ticket)
        return ticket.unheard

    def _send(self, ask: Callable[[], Ticket]) -> Ticket:
        ticket = ask()
        self._flush()
        return ticket

    def _flush(self) -> None:
        for request in self._session.ready():
            self._put(request)

    def _put(self, request: Request) -> None:
        try:
            self._stream.send(request)
        except BaseException:  # such as a message that is too large
            self._session.resolve(UNSENT)
            raise

    async def _receive(self) -> None:
        try:
            event = await self._stream.receive(self._session.patience())
        except TimeoutError:
            self._session.expire()
            await self._stream.close(cancel=True)
        else:
            await self._take(event)

    async def _poll(self, ticket: Ticket) -> None:
        while ticket.outcome is None and (event := self._stream.poll()):
            await self._take(event)

    async def _take(self, event: Event) -> None:
        self._session.resolve(event)
        self._stream.advance()
        if isinstance(event, Broken):
            await self._stream.close(cancel=True)
        else:
            self._flush()

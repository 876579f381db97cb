"""A video on one server, over one stream."""

from __future__ import annotations

from collections.abc import Callable

from masklet.concurrency.protocol import Concurrency
from masklet.connection import keep_alive
from masklet.connection.connection import SessionConnection
from masklet.connection.pending import PendingResult
from masklet.connection.session import Session
from masklet.errors import copy_of
from masklet.transport.protocol import AsyncStream, Broken, Event, Request

UNSENT = Broken("a request could not be sent")


class PlainConnection(SessionConnection):
    """One stream to one server. Where that breaks the video is lost."""

    _session: Session

    def __init__(self, session: Session, open_stream: Callable[[], AsyncStream], concurrency: Concurrency) -> None:
        super().__init__(concurrency)
        self._session = session
        self._open_stream = open_stream
        self._stream = open_stream()

    def wake(self) -> None:
        """See `Connection`."""
        self._stream.wake()
        self._turns.wake()

    async def close(self) -> None:
        """See `Connection`."""
        try:
            failure = None if self._session.lost else await self._end()
            if self._session.lost and self._session.must_end:  # lost by now: over a new stream, since late answers may come on the old one
                await self._stream.close(cancel=True)
                self._stream = self._open_stream()
                failure = await self._end() and failure
            if failure:
                raise copy_of(failure)
        finally:
            self._session.close()
            await self._stream.close()
            await self._concurrency.join()

    async def _give_sign(self) -> None:
        with self._lock:
            while (event := self._stream.poll()) and keep_alive.is_harmless(event):
                self._take(event)
            if self._session.silence >= keep_alive.SILENCE_S:
                self._put(self._session.issue(keep_alive.sign())[1])

    async def _end(self) -> BaseException | None:
        """Sends END. Gives the error if nobody heard it; what the server thinks of it does not matter."""
        if not self._session.must_end:
            return None
        with self._lock:
            pending, request = self._session.end()
            self._put(request)
        await self.settle(pending)
        return pending.unheard

    def _send(self, ask: Callable[[], PendingResult]) -> PendingResult:
        with self._lock:
            pending = ask()
            self._flush()
            return pending

    def _flush(self) -> None:
        for request in self._session.ready():
            self._put(request)

    def _put(self, request: Request) -> None:
        try:
            self._stream.send(request)
        except BaseException:  # such as Ctrl-C: nobody knows whether the server gets the request
            self._session.resolve(UNSENT)
            raise

    async def _receive(self) -> None:
        try:
            event = await self._stream.receive(self._session.patience())
        except TimeoutError:
            self._session.expire()
            await self._stream.close(cancel=True)
        else:
            if event:
                await self._dealt_with(event)

    async def _catch_up(self, pending: PendingResult) -> None:
        while pending.outcome is None and (event := self._stream.poll()):
            await self._dealt_with(event)

    async def _dealt_with(self, event: Event) -> None:
        self._take(event)
        if isinstance(event, Broken):
            await self._stream.close(cancel=True)

    def _take(self, event: Event) -> None:
        self._session.resolve(event)
        stream = self._stream
        with self._lock:
            if end := self._session.leave():
                self._stream = self._open_stream()
                stream.send(end)
                self._concurrency.spawn(stream.close)
        stream.advance()
        with self._lock:
            self._flush()

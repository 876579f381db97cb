"""A transport without a server, for tests of programs that use masklet."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Mapping

from masklet.errors import MaskletError
from masklet.transport import Broken, Event, Refusal, Request

Reply = Event | MaskletError | None


class MockTransport:
    """Answers each request with what `handler` makes of it, at once and in order.

    The handler gives an Answer with the output tensors of `tracker`, a MaskletError that the server is to answer with, a Refusal with a text,
    a Broken to end the stream, or None to stay silent. For use as `Tracker("test:0", transport=MockTransport(handler))`, also with AsyncTracker.

    requests  every request, of all streams
    headers   the headers of each stream opened
    """

    def __init__(self, handler: Callable[[Request], Reply]) -> None:
        self.requests: list[Request] = []
        self.headers: list[Mapping[str, str]] = []
        self._handler = handler

    def open_stream(self, headers: Mapping[str, str]) -> MockStream:
        """See `masklet.transport.Transport`."""
        self.headers.append(headers)
        return MockStream(self._reply)

    def open_async_stream(self, headers: Mapping[str, str]) -> AsyncMockStream:
        """See `masklet.transport.AsyncTransport`."""
        return AsyncMockStream(self.open_stream(headers))

    def _reply(self, request: Request) -> Event | None:
        self.requests.append(request)
        reply = self._handler(request)
        return Refusal(reply.wire()) if isinstance(reply, MaskletError) else reply


class MockStream:
    """See `masklet.transport.Stream`."""

    def __init__(self, reply: Callable[[Request], Event | None]) -> None:
        self._reply = reply
        self._events: deque[Event] = deque()
        self._silent = False

    def send(self, request: Request) -> None:
        """See `Stream`. An answer that never comes holds up all behind it, as on a real stream."""
        event = self._reply(request)
        if event and not self._silent:
            self._events.append(event)
        self._silent = self._silent or event is None or isinstance(event, Broken)

    def receive(self, timeout_s: float) -> Event:
        """See `Stream`. There is nobody to wait for, so it waits only where nothing will come."""
        event = self.poll()
        if event is None:
            time.sleep(timeout_s)
            raise TimeoutError
        return event

    def poll(self) -> Event | None:
        """See `Stream`."""
        return self._events.popleft() if self._events else None

    def close(self, *, cancel: bool = False) -> None:
        """See `Stream`."""
        self._silent = True


class AsyncMockStream:
    """See `masklet.transport.AsyncStream`."""

    def __init__(self, stream: MockStream) -> None:
        self.send = stream.send
        self.poll = stream.poll
        self._stream = stream

    async def receive(self, timeout_s: float) -> Event:
        """See `AsyncStream`."""
        event = self.poll()
        if event is None:
            await asyncio.sleep(timeout_s)
            raise TimeoutError
        return event

    async def close(self, *, cancel: bool = False) -> None:
        """See `AsyncStream`."""
        self._stream.close(cancel=cancel)

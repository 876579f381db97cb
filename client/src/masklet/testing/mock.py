"""A transport without a server, for tests of programs that use masklet."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np

from masklet.concurrency.event_loop import LoopCondition
from masklet.concurrency.protocol import Condition
from masklet.concurrency.threads import ThreadCondition, finish
from masklet.errors import MaskletError
from masklet.transport.inbox import Inbox
from masklet.transport.protocol import Answer, Broken, Event, Refusal, Request

Reply = Event | MaskletError | None


class MockTransport:
    """Answers each request with what `handler` makes of it, at once and in order.

    The handler gives an Answer with the output tensors of `tracker` (`masklet.testing.answer` makes one of masks), a MaskletError that the
    server is to answer with, a Refusal with a text, a Broken to end the stream, or None to stay silent. The id of the request and the tensor TOKEN
    are added where it gives none.
    For use as `Tracker("test:0", transport=MockTransport(handler))`, also with AsyncTracker.

    requests  every request, of all streams
    headers   the headers of each stream opened
    """

    def __init__(self, handler: Callable[[Request], Reply]) -> None:
        self.requests: list[Request] = []
        self.headers: list[Mapping[str, str]] = []
        self._handler = handler

    def open_stream(self, headers: Mapping[str, str]) -> MockStream:
        """See `masklet.transport.protocol.Transport`."""
        self.headers.append(headers)
        return MockStream(self._reply, ThreadCondition())

    def open_async_stream(self, headers: Mapping[str, str]) -> AsyncMockStream:
        """See `masklet.transport.protocol.AsyncTransport`."""
        self.headers.append(headers)
        return AsyncMockStream(self._reply, LoopCondition())

    def _reply(self, request: Request) -> Event | None:
        self.requests.append(request)
        reply = self._handler(request)
        return answered(request, Refusal(reply.wire()) if isinstance(reply, MaskletError) else reply)


def answered(request: Request, event: Event | None) -> Event | None:
    """The event as one that answers this request, where it does not say what it answers."""
    if event is None or isinstance(event, Broken) or event.id:
        return event
    if isinstance(event, Refusal) or "TOKEN" in event.tensors:
        return replace(event, id=request.id)
    return Answer({**event.tensors, "TOKEN": np.frombuffer(request.id.encode(), np.uint8)}, request.id)


class _Mock:
    """What both streams have in common. There is nobody to wait for, so they wait only where nothing will come."""

    def __init__(self, reply: Callable[[Request], Event | None], changed: Condition) -> None:
        self._reply = reply
        self._inbox = Inbox(changed)
        self._silent = False
        self.poll, self.advance, self.wake = self._inbox.poll, self._inbox.advance, self._inbox.wake

    def send(self, request: Request) -> None:
        """See `Stream`. An answer that never comes holds up all behind it, as on a real stream."""
        event = self._reply(request)
        if event and not self._silent:
            self._inbox.put(event)
        self._silent = self._silent or event is None or isinstance(event, Broken)


class MockStream(_Mock):
    """See `masklet.transport.protocol.Stream`."""

    def receive(self, timeout_s: float) -> Event | None:
        """See `Stream`."""
        return finish(self._inbox.receive(timeout_s))

    def close(self, *, cancel: bool = False) -> None:
        """See `Stream`."""
        self._silent = True


class AsyncMockStream(_Mock):
    """See `masklet.transport.protocol.AsyncStream`."""

    async def receive(self, timeout_s: float) -> Event | None:
        """See `AsyncStream`."""
        return await self._inbox.receive(timeout_s)

    async def close(self, *, cancel: bool = False) -> None:
        """See `AsyncStream`."""
        self._silent = True

"""Events of a stream that have come and were not dealt with yet. An event is looked at, and leaves only when it was dealt with."""

from __future__ import annotations

import asyncio
import threading
from collections import deque

from masklet.transport import Event


class Inbox:
    """For threads: any of them may put, one looks."""

    def __init__(self) -> None:
        self._events: deque[Event] = deque()
        self._changed = threading.Condition()
        self._woken = False

    def put(self, event: Event) -> None:
        """Appends an event."""
        with self._changed:
            self._events.append(event)
            self._changed.notify_all()

    def receive(self, timeout_s: float) -> Event | None:
        """See `Stream.receive`."""
        with self._changed:
            if not self._changed.wait_for(lambda: self._events or self._woken, max(0.0, timeout_s)):
                raise TimeoutError
            self._woken = False
            return self.poll()

    def poll(self) -> Event | None:
        """See `Stream.poll`."""
        return self._events[0] if self._events else None

    def advance(self) -> None:
        """See `Stream.advance`."""
        self._events.popleft()

    def wake(self) -> None:
        """See `Stream.wake`."""
        with self._changed:
            self._woken = True
            self._changed.notify_all()


class AsyncInbox:
    """For the tasks of one event loop."""

    def __init__(self) -> None:
        self._events: deque[Event] = deque()
        self._some = asyncio.Event()

    def put(self, event: Event) -> None:
        """Appends an event."""
        self._events.append(event)
        self._some.set()

    async def receive(self, timeout_s: float) -> Event:
        """See `AsyncStream.receive`."""
        try:
            if not self._events:
                await asyncio.wait_for(self._some.wait(), timeout_s)
        except asyncio.TimeoutError:  # another class than TimeoutError in Python 3.10
            raise TimeoutError from None
        return self._events[0]

    def poll(self) -> Event | None:
        """See `AsyncStream.poll`."""
        return self._events[0] if self._events else None

    def advance(self) -> None:
        """See `AsyncStream.advance`."""
        self._events.popleft()
        if not self._events:
            self._some.clear()

"""Events of a stream that have come and were not dealt with yet."""

from __future__ import annotations

from collections import deque

from masklet.concurrency.protocol import Condition
from masklet.transport.protocol import Event


class Inbox:
    """An event is looked at, and leaves only when it was dealt with. Whoever `changed` is for may put; one looks."""

    def __init__(self, changed: Condition) -> None:
        self._events: deque[Event] = deque()
        self._changed = changed
        self._woken = False

    def put(self, event: Event) -> None:
        """Appends an event."""
        with self._changed:
            self._events.append(event)
            self._changed.notify_all()

    async def receive(self, timeout_s: float) -> Event | None:
        """See `AsyncStream.receive`."""
        if not await self._changed.wait_for(lambda: self._events or self._woken, max(0.0, timeout_s)):
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

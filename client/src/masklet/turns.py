"""Who waits for the events of a video: one caller at a time, on behalf of all of them."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable


class Turns:
    """For threads."""

    def __init__(self) -> None:
        self._owner: object | None = None  # not a lock: an interrupt between its `acquire` and `try` would leave it taken for ever
        self._over = threading.Condition()

    def wait(self, done: Callable[[], bool], step: Callable[[], None]) -> None:
        """Until `done`: takes a turn, in which `step` waits for an event and deals with it, or waits for the turns of others to bring it about."""
        while not done():
            if not self.attempt(lambda: None if done() else step()):
                with self._over:
                    self._over.wait_for(lambda: self._owner is None or done())

    def attempt(self, step: Callable[[], None]) -> bool:
        """Takes a turn if nobody has one. Whether it did."""
        me = object()
        try:
            with self._over:
                if self._owner is not None:
                    return False
                self._owner = me
            step()
            return True
        finally:
            if self._owner is me:
                with self._over:
                    self._owner = None
                    self._over.notify_all()

    def wake(self) -> None:
        """Lets those who wait look again whether they are done."""
        with self._over:
            self._over.notify_all()


class AsyncTurns:
    """For the tasks of one event loop."""

    def __init__(self) -> None:
        self._taken = False
        self._over = asyncio.Event()

    async def wait(self, done: Callable[[], bool], step: Callable[[], Awaitable[None]]) -> None:
        """See `Turns.wait`."""
        while not done():
            if not await self.attempt(step):
                await self._over.wait()

    async def attempt(self, step: Callable[[], Awaitable[None]]) -> bool:
        """See `Turns.attempt`."""
        if self._taken:
            return False
        self._taken, self._over = True, asyncio.Event()
        try:
            await step()
        finally:
            self._taken = False
            self._over.set()
        return True

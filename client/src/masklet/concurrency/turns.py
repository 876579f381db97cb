"""Who waits for the events of a video: one caller at a time, on behalf of all of them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from masklet.concurrency.protocol import Condition


class Turns:
    """A turn is to wait for an event and to deal with it."""

    def __init__(self, over: Condition) -> None:
        self._owner: object | None = None  # not a lock: an interrupt between its `acquire` and `try` would leave it taken for ever
        self._over = over

    async def wait(self, done: Callable[[], bool], step: Callable[[], Awaitable[None]]) -> None:
        """Until `done`: takes a turn, in which `step` waits for an event and deals with it, or waits for the turns of others to bring it about."""

        async def turn() -> None:
            if not done():
                await step()

        while not done():
            if not await self.attempt(turn):
                await self._over.wait_for(lambda: self._owner is None or done())

    async def rest(self, until: Callable[[], object]) -> None:
        """Waits without a turn; after `wake` it looks at `until`."""
        await self._over.wait_for(until)

    async def attempt(self, step: Callable[[], Awaitable[None]]) -> bool:
        """Takes a turn if nobody has one. Whether it did."""
        me = object()
        try:
            with self._over:
                if self._owner is not None:
                    return False
                self._owner = me
            await step()
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

"""What carries a video to its server and back.

`Video` is what callers see of a connection. Calls that send give a pending result, without waiting; `settle` waits until it has its outcome.
"""

from __future__ import annotations

import threading
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from masklet.concurrency.protocol import Concurrency
from masklet.concurrency.turns import Turns
from masklet.connection.asking import Asking
from masklet.connection.interruption import Interruption
from masklet.connection.operations import Operation
from masklet.connection.pending import PendingResult
from masklet.pixels import FrameLike, Sendable
from masklet.results import TrackedFrame


def never() -> bool:
    """Nothing but the outcome ends the wait."""
    return False


class Connection(ABC):
    """What carries one video. Calls that send give a pending result, without waiting.

    replayed  results of frames that were tracked again, for whoever follows the video; who appends calls `wake`
    followed  so many take them from there: only then are they put there
    closed    nothing comes any more; who sets it calls `wake`
    """

    def __init__(self, concurrency: Concurrency) -> None:
        self._concurrency = concurrency
        self._lock = threading.RLock()
        self.replayed: deque[TrackedFrame] = deque()
        self.followed = 0
        self.closed = False

    @property
    @abstractmethod
    def video_id(self) -> int | str:
        """The correlation id of the video on its server."""

    @property
    def catching_up(self) -> bool:
        """Whether more results of frames that were tracked again are due, or may be. Where that ends, `wake` is called."""
        return False

    @property
    @abstractmethod
    def interruptions(self) -> Sequence[Interruption]:
        """What happened to the video so far."""

    @abstractmethod
    def prompt(self, object_id: int, **prompt: Any) -> None:
        """See `Asking.prompt`."""

    @abstractmethod
    def drop(self, object_id: int) -> bool:
        """See `Asking.drop`."""

    @abstractmethod
    def frame(self, frame: Sendable, **options: Any) -> PendingResult:
        """Sends a frame."""

    @abstractmethod
    def restore(self, state: bytes) -> PendingResult:
        """Begins the video from a snapshot."""

    @abstractmethod
    def remove(self, object_id: int) -> PendingResult:
        """Forgets an object."""

    @abstractmethod
    def snapshot(self) -> PendingResult:
        """Asks for a snapshot."""

    @abstractmethod
    def note(self, pending: PendingResult, frame: FrameLike, tag: Any) -> None:
        """Is told what the caller knows of a frame that was sent."""

    @abstractmethod
    async def settle(self, pending: PendingResult, unless: Callable[[], bool] = never) -> None:
        """Waits until the result has its outcome; or, after `wake`, until `unless`."""

    @abstractmethod
    async def rest(self, until: Callable[[], object]) -> None:
        """Waits while nothing is asked of the server. After `wake` it looks at `until`."""

    @abstractmethod
    async def settled(self, pending: PendingResult) -> bool:
        """Whether the result has its outcome, by what has come so far."""

    @abstractmethod
    def wake(self) -> None:
        """Lets those who wait look at their `unless`. Called from another thread, or in the event loop."""

    @abstractmethod
    async def keep_alive(self, for_s: float) -> None:
        """Gives the server a sign of life if the video is silent, for so many seconds after the caller's last request. Does not wait."""

    @abstractmethod
    async def close(self) -> None:
        """Ends the video; called once. Raises VideoLost if the video was fine until now and the server does not answer."""


class SessionConnection(Connection):
    """Carries out what a session says, in input and output. `_lock` is held while something is asked and sent, so that the order is the same."""

    _session: Asking

    def __init__(self, concurrency: Concurrency) -> None:
        super().__init__(concurrency)
        self._turns = Turns(concurrency.condition())
        self._asked_at = time.monotonic()

    @property
    def video_id(self) -> int | str:
        """See `Connection`."""
        return self._session.video_id

    @property
    def interruptions(self) -> Sequence[Interruption]:
        """See `Connection`."""
        return tuple(self._session.interruptions)

    @property
    def session(self) -> Asking:
        """What says what to send."""
        return self._session

    def prompt(self, object_id: int, **prompt: Any) -> None:
        """See `Connection`."""
        with self._lock:
            self._session.prompt(object_id, **prompt)

    def drop(self, object_id: int) -> bool:
        """See `Connection`."""
        with self._lock:
            return self._session.drop(object_id)

    def frame(self, frame: Sendable, **options: Any) -> PendingResult:
        """See `Connection`."""
        return self._ask(lambda: self._session.frame(frame, **options))

    def operation(self, operation: Operation) -> PendingResult:
        """Sends what was made elsewhere of what a caller asked."""
        return self._ask(lambda: self._session.operation(operation))

    def restore(self, state: bytes) -> PendingResult:
        """See `Connection`."""
        return self._ask(lambda: self._session.restore(state))

    def remove(self, object_id: int) -> PendingResult:
        """See `Connection`."""
        return self._ask(lambda: self._session.remove(object_id))

    def snapshot(self) -> PendingResult:
        """See `Connection`."""
        return self._ask(self._session.snapshot)

    def note(self, pending: PendingResult, frame: FrameLike, tag: Any) -> None:
        """See `Connection`. Nothing here needs it."""

    def _ask(self, ask: Callable[[], PendingResult]) -> PendingResult:
        self._asked_at = time.monotonic()
        return self._send(ask)

    async def settle(self, pending: PendingResult, unless: Callable[[], bool] = never) -> None:
        """See `Connection`."""
        await self._turns.wait(lambda: pending.outcome is not None or unless(), self._receive)

    async def rest(self, until: Callable[[], object]) -> None:
        """See `Connection`."""
        await self._turns.rest(until)

    async def settled(self, pending: PendingResult) -> bool:
        """See `Connection`."""
        if pending.outcome is None:
            await self._turns.attempt(lambda: self._catch_up(pending))
        return pending.outcome is not None

    async def keep_alive(self, for_s: float) -> None:
        """See `Connection`."""
        if time.monotonic() - self._asked_at < for_s:
            await self._turns.attempt(self._give_sign)  # where somebody waits for an event the video is not silent

    @abstractmethod
    async def _give_sign(self) -> None:
        """Deals with harmless events that have come, and sends a sign of life if it is time."""

    @abstractmethod
    def _send(self, ask: Callable[[], PendingResult]) -> PendingResult:
        """Asks, and sends what follows from it."""

    @abstractmethod
    async def _receive(self) -> None:
        """Waits for an event, and deals with it."""

    @abstractmethod
    async def _catch_up(self, pending: PendingResult) -> None:
        """Deals with the events that have come, at least up to the outcome of this."""

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
from masklet.connection import keep_alive
from masklet.connection.asking import Asking
from masklet.connection.interruption import Interruption
from masklet.connection.pending import PendingResult
from masklet.connection.session import Session
from masklet.errors import copy_of
from masklet.pixels import Sendable
from masklet.results import TrackedFrame
from masklet.transport.protocol import AsyncStream, Broken, Event, Request

UNSENT = Broken("a request could not be sent")


def never() -> bool:
    """Nothing but the outcome ends the wait."""
    return False


class Connection(ABC):
    """Carries out what a session says, in input and output. `_lock` is held while something is asked and sent, so that the order is the same.

    replayed   results of frames that were tracked again, for whoever follows the video; who appends calls `wake`
    replaying  whether more of them will come
    """

    replaying: bool = False

    _session: Asking

    def __init__(self, concurrency: Concurrency) -> None:
        self._concurrency = concurrency
        self._lock = threading.RLock()
        self._turns = Turns(concurrency.condition())
        self._asked_at = time.monotonic()
        self.replayed: deque[TrackedFrame] = deque()

    @property
    def video_id(self) -> int | str:
        """The correlation id of the video on its server."""
        return self._session.video_id

    @property
    def interruptions(self) -> Sequence[Interruption]:
        """What happened to the video so far."""
        return tuple(self._session.interruptions)

    def prompt(self, object_id: int, **prompt: Any) -> None:
        """See `Asking.prompt`."""
        with self._lock:
            self._session.prompt(object_id, **prompt)

    def drop(self, object_id: int) -> bool:
        """See `Asking.drop`."""
        with self._lock:
            return self._session.drop(object_id)

    def frame(self, frame: Sendable, **options: Any) -> PendingResult:
        """Sends a frame."""
        return self._ask(lambda: self._session.frame(frame, **options))

    def restore(self, state: bytes) -> PendingResult:
        """Begins the video from a snapshot."""
        return self._ask(lambda: self._session.restore(state))

    def remove(self, object_id: int) -> PendingResult:
        """Forgets an object."""
        return self._ask(lambda: self._session.remove(object_id))

    def snapshot(self) -> PendingResult:
        """Asks for a snapshot."""
        return self._ask(self._session.snapshot)

    def _ask(self, ask: Callable[[], PendingResult]) -> PendingResult:
        self._asked_at = time.monotonic()
        return self._send(ask)

    async def settle(self, pending: PendingResult, unless: Callable[[], bool] = never) -> None:
        """Waits until the result has its outcome; or, after `wake`, until `unless`."""
        await self._turns.wait(lambda: pending.outcome is not None or unless(), self._receive)

    async def rest(self, until: Callable[[], object]) -> None:
        """Waits while nothing is asked of the server. After `wake` it looks at `until`."""
        await self._turns.rest(until)

    async def settled(self, pending: PendingResult) -> bool:
        """Whether the result has its outcome, by what has come so far."""
        if pending.outcome is None:
            await self._turns.attempt(lambda: self._catch_up(pending))
        return pending.outcome is not None

    @abstractmethod
    def wake(self) -> None:
        """Lets those who wait look at their `unless`. Called from another thread, or in the event loop."""

    async def keep_alive(self, for_s: float) -> None:
        """Gives the server a sign of life if the video is silent, for so many seconds after the caller's last request. Does not wait."""
        if time.monotonic() - self._asked_at < for_s:
            await self._turns.attempt(self._give_sign)  # where somebody waits for an event the video is not silent

    @abstractmethod
    async def _give_sign(self) -> None:
        """Deals with harmless events that have come, and sends a sign of life if it is time."""

    @abstractmethod
    async def close(self) -> None:
        """Ends the video; called once. Raises VideoLost if the video was fine until now and the server does not answer."""

    @abstractmethod
    def _send(self, ask: Callable[[], PendingResult]) -> PendingResult:
        """Asks, and sends what follows from it."""

    @abstractmethod
    async def _receive(self) -> None:
        """Waits for an event, and deals with it."""

    @abstractmethod
    async def _catch_up(self, pending: PendingResult) -> None:
        """Deals with the events that have come, at least up to the outcome of this."""


class PlainConnection(Connection):
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

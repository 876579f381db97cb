"""Where the video is: what is asked goes to the head, which is one connection after another, and into the log."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace

from masklet.concurrency.protocol import Condition
from masklet.connection.connection import SessionConnection, never
from masklet.connection.interruption import Interruption
from masklet.connection.operations import Operation, Operations
from masklet.connection.pending import PendingResult
from masklet.errors import ServerFault
from masklet.history.log import Kept, Log
from masklet.results import TrackedFrame

_SHARE = 2  # frames that a branch replays for each live one that can wait: so it gets there
_MOST_CREDIT = 2.0  # live frames that may follow at once upon a pause
_SLOW = 4  # times its longest step so far is too long for the next
_PATIENCE_S = 1.0  # without a step of the branch, after which the live video does not wait for it; longer where its steps are


@dataclass(eq=False)
class Asked:
    """Something asked of the video, and of which connection: of none yet, where it is held.

    pending  the caller's
    ask      asks a connection for it
    kept     its entry in the log; None: it changes nothing
    """

    pending: PendingResult
    ask: Callable[[SessionConnection], PendingResult]
    kept: Kept | None
    inner: PendingResult | None = None
    on: SessionConnection | None = None


class Head:
    """The connection that the video is on, and what was asked and has no outcome yet. Several threads may use it.

    connection  the head
    earlier     what happened to the heads before
    branch      what catches up with it, if something does
    of_camera   its frames come at their own times, so that they cannot wait
    holding     what is asked waits for the branch, which is all but there
    stopping    the video is being closed
    """

    def __init__(self, connection: SessionConnection, log: Log, lock: threading.RLock, changed: Condition) -> None:
        self.connection = connection
        self.operations: Operations = connection.session.operations  # the video's: they go along from head to head
        self.earlier: list[Interruption] = []
        self.branch: SessionConnection | None = None
        self.of_camera = self.stopping = False
        self.lock = lock
        self._log = log
        self._changed = changed
        self._asked: dict[PendingResult, Asked] = {}
        self._held: deque[Asked] = deque()
        self.holding = False
        self._credit = 0.0
        self._stepped_at = self._longest_s = 0.0
        self._stalled = False

    def ask(self, operation: Operation, ask: Callable[[SessionConnection], PendingResult], kept: Kept | None) -> PendingResult:
        """Asks the head for something, or holds it back while a branch must get on."""
        with self.lock:
            self.refresh()
            asked = Asked(PendingResult(operation.without_tensors()), ask, kept)
            self._asked[asked.pending] = asked
            try:
                if self._held or not self._may_go(operation):
                    self.connection.session.check()
                    self._held.append(asked)
                else:
                    self._send(asked)
            except BaseException:
                del self._asked[asked.pending]
                raise
            return asked.pending

    def entry(self, pending: PendingResult) -> Kept | None:
        """The entry in the log of what was asked and has no outcome yet."""
        asked = self._asked.get(pending)
        return asked.kept if asked else None

    async def settle(self, pending: PendingResult, unless: Callable[[], bool] = never) -> None:
        """See `Connection`."""
        while pending.outcome is None and not unless():
            asked = self._asked.get(pending)
            if asked and asked.inner and asked.on:
                await asked.on.settle(asked.inner, unless)
                self.refresh()
            elif asked:
                await self._sent(asked, unless)

    async def _sent(self, asked: Asked, unless: Callable[[], bool]) -> None:
        """Waits until something held is sent; but not for a branch that does not get on."""
        until = self._stepped_at + max(_PATIENCE_S, _SLOW * self._longest_s)
        went = await self._changed.wait_for(lambda: asked.on is not None or asked.pending.outcome is not None or unless(), until - time.monotonic())
        with self.lock:
            if not went and self._stepped_at + max(_PATIENCE_S, _SLOW * self._longest_s) <= until:
                self._stalled = True
                self.release()

    async def rest(self, until: Callable[[], object]) -> None:
        """See `Connection`."""
        await self._changed.wait_for(until)

    async def settled(self, pending: PendingResult) -> bool:
        """See `Connection`."""
        asked = self._asked.get(pending)
        if asked and asked.on and asked.inner:
            await asked.on.settled(asked.inner)
            self.refresh()
        return pending.outcome is not None

    async def settle_all(self) -> None:
        """Waits for the outcome of all that was sent; or until the video is being closed."""
        for asked in [*self._asked.values()]:
            if asked.on is not None:
                await self.settle(asked.pending, unless=lambda: self.stopping)
        self._stepped()

    async def answered(self, kept: Kept) -> None:
        """Waits until an entry of the log has its answer, or is in the log no more; or the video is being closed."""
        pending = next((asked.pending for asked in [*self._asked.values()] if asked.kept is kept), None)
        if pending:
            await self.settle(pending, unless=lambda: self.stopping)
            self._stepped()

    def refresh(self) -> None:
        """Takes note of what was answered."""
        with self.lock:
            for asked in [*self._asked.values()]:
                if asked.inner is not None and asked.inner.outcome is not None:
                    self._digest(asked, asked.inner, asked.inner.outcome)

    def hold(self) -> bool:
        """What is asked from now on waits for the branch; unless that got stuck. Whether it does."""
        with self.lock:
            self.holding = not self._stalled
            return self.holding

    def advanced(self) -> None:
        """The branch has replayed a frame."""
        self._stepped()
        with self.lock:
            self._credit = min(_MOST_CREDIT, self._credit + 1 / _SHARE)
            while self._held and self._may_go(self._held[0].pending.operation):
                self._let_go(self._held.popleft())
        self.wake()

    def follow(self, branch: SessionConnection | None) -> None:
        """A branch begins to catch up; None: it has given up."""
        with self.lock:
            self.branch, self._credit = branch, 0.0
            self._stepped_at, self._longest_s, self._stalled = time.monotonic(), 0.0, False
            if branch is None:
                self.release()

    def switch(self) -> SessionConnection:
        """The branch is the head from now on. Gives the one that it was."""
        with self.lock:
            assert self.branch is not None
            old, self.connection, self.branch = self.connection, self.branch, None
            self.earlier += old.interruptions
            self.connection.session.operations = self.operations
            self.release()
            return old

    def release(self, error: Exception | None = None) -> None:
        """Lets go of all that is held; or gives it an error."""
        with self.lock:
            self.holding = False
            while self._held:
                asked = self._held.popleft()
                if error:
                    self._give(asked, error)
                else:
                    self._let_go(asked)
        self.wake()

    def wake(self) -> None:
        """Lets those who wait for what is held look again."""
        with self._changed:
            self._changed.notify_all()

    def _stepped(self) -> None:
        with self.lock:
            now = time.monotonic()
            self._longest_s = max(self._longest_s, now - self._stepped_at)
            self._stepped_at, self._stalled = now, False

    def _may_go(self, operation: Operation) -> bool:
        """Whether something may be sent now: a branch that catches up must get there."""
        if self.holding or self.branch is None or self.of_camera or self._stalled or not operation.is_frame:
            return not self.holding
        if self._credit < 1:
            return False
        self._credit -= 1
        return True

    def _send(self, asked: Asked) -> None:
        kept = asked.kept
        if kept:
            operation = kept.operation
            if operation.is_frame and not operation.more and self._log.due:
                kept.operation = replace(operation, options=replace(operation.options, snapshot=True))
            self._log.add(kept)
        try:
            asked.inner = asked.ask(self.connection)
        except Exception:
            if kept:
                self._log.drop(kept)
            raise
        except BaseException:  # such as Ctrl-C: nobody knows whether it was sent
            self._log.forget()
            raise
        asked.on = self.connection

    def _let_go(self, asked: Asked) -> None:
        """Sends what was held; an error is its outcome."""
        try:
            self._send(asked)
        except Exception as error:
            self._give(asked, error)

    def _digest(self, asked: Asked, inner: PendingResult, outcome: TrackedFrame | BaseException) -> None:
        kept = asked.kept
        if kept and isinstance(outcome, TrackedFrame):
            kept.operation = replace(kept.operation, items=inner.operation.items)  # those of refused frames may have joined them
            self._log.answered(kept, outcome)
            outcome = outcome if kept.wants_state else replace(outcome, snapshot=None)
        elif kept:
            self._log.drop(kept)
            if isinstance(outcome, ServerFault):  # it may have been done all the same
                self._log.forget()
        self._give(asked, outcome)

    def _give(self, asked: Asked, outcome: TrackedFrame | BaseException) -> None:
        asked.pending.outcome = outcome
        self._asked.pop(asked.pending, None)

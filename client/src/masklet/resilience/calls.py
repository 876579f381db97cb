"""What the lines for threads and for asyncio have in common: all that does not wait."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from masklet import orders
from masklet.errors import BadRequest, UnknownObject
from masklet.inputs import Frame
from masklet.orders import Order
from masklet.resilience.keeper import Keeper
from masklet.resilience.link import Link
from masklet.resilience.report import Interruption
from masklet.resilience.route import Close, Open, Send
from masklet.ticket import Ticket
from masklet.transport import Event


class Calls(ABC):
    """The calls of a resilient video that send. `_lock` is held around all that touches the keeper or a stream."""

    def __init__(self, keeper: Keeper) -> None:
        self._keeper = keeper
        self._lock = threading.RLock()
        self._begun = False

    @property
    def video_id(self) -> int | str:
        """See `Line`."""
        return self._keeper.video_id

    @property
    def interruptions(self) -> Sequence[Interruption]:
        """See `Line`."""
        return tuple(self._keeper.interruptions)

    def prompt(self, object_id: int, **prompt: Any) -> None:
        """See `Line`."""
        with self._lock:
            self._keeper.check()
            self._keeper.orders.prompt(object_id, **prompt)

    def drop(self, object_id: int) -> bool:
        """See `Line`."""
        with self._lock:
            return self._keeper.orders.drop(object_id)

    def frame(self, frame: Frame, **options: Any) -> Ticket:
        """See `Line`. Pixels are copied: the caller may use the array again, and a replay needs them as they were."""
        kept = frame.copy() if isinstance(frame, np.ndarray) else frame
        return self._send(lambda: self._keeper.orders.frame(kept, **options))

    def restore(self, state: bytes) -> Ticket:
        """See `Line`."""
        return self._send(lambda: orders.restoring(state))

    def remove(self, object_id: int) -> Ticket:
        """See `Line`."""
        return self._send(
            lambda: self._after_begin(orders.removal(object_id), UnknownObject(f"object {object_id} was never prompted in this video."))
        )

    def snapshot(self) -> Ticket:
        """See `Line`."""
        error = BadRequest("there is nothing to take a snapshot of: no frame was sent yet.")
        return self._send(lambda: self._after_begin(orders.snapshot(), error))

    def _after_begin(self, order: Order, error: Exception) -> Order:
        if not self._begun:
            raise error
        return order

    def _send(self, make: Callable[[], Order]) -> Ticket:
        with self._lock:  # requests must be sent in the order in which they were made
            self._keeper.check()
            ticket = self._keeper.add(make())
            self._begun = True
            try:
                self._carry_out()
            except BaseException:  # such as Ctrl-C, or a message that is too large
                self._keeper.withdraw(ticket)
                raise
            return ticket

    def _take(self, link: Link, event: Event) -> None:
        """Tells the keeper of an event."""
        try:
            self._keeper.take(link, event)
        except BaseException:  # such as Ctrl-C half way: what the link said is forgotten, and asked again elsewhere
            self._keeper.unsent(link)
            raise

    def _carry_out(self) -> None:
        """Does what the keeper wants to have done."""
        while self._keeper.commands:
            command = self._keeper.commands.popleft()
            try:
                self._do(command)
            except BaseException:  # what comes over this stream could belong to another request
                self._keeper.unsent(command.link)
                raise

    @abstractmethod
    def _do(self, command: Open | Send | Close) -> None:
        """Carries out a command."""

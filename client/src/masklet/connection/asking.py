"""What a caller can ask of a video, whatever carries it."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

from masklet.connection import operations
from masklet.connection.interruption import Interruption
from masklet.connection.operations import Operation, Operations
from masklet.connection.pending import PendingResult
from masklet.errors import BadRequest, UnknownObject
from masklet.pixels import Sendable


class Asking(ABC):
    """Calls become operations, and operations pending results. Neither waits, nor has input or output. Several threads may use it.

    interruptions  what happened to the video so far
    """

    def __init__(self) -> None:
        self.interruptions: Sequence[Interruption] = ()
        self.operations = Operations()
        self._lock = threading.RLock()

    @property
    @abstractmethod
    def video_id(self) -> int | str:
        """The correlation id of the video on its server."""

    @property
    @abstractmethod
    def began(self) -> bool:
        """Whether a server may hold something of the video."""

    @abstractmethod
    def check(self) -> None:
        """Raises VideoLost where nothing can be asked any more."""

    @abstractmethod
    def add(self, operation: Operation) -> PendingResult:
        """Takes an operation. Raises VideoLost."""

    def prompt(self, object_id: int, **prompt: Any) -> None:
        """See `Operations.prompt`."""
        with self._lock:
            self.check()
            self.operations.prompt(object_id, **prompt)

    def drop(self, object_id: int) -> bool:
        """See `Operations.drop`."""
        with self._lock:
            return self.operations.drop(object_id)

    def frame(self, frame: Sendable, **options: Any) -> PendingResult:
        """Asks for a frame. Raises BadFrame and BadParameter, and then keeps the prompts."""
        with self._lock:
            self.check()
            return self.add(self.operations.frame(frame, **options))

    def operation(self, operation: Operation) -> PendingResult:
        """Asks for what was made elsewhere of what a caller asked."""
        with self._lock:
            self.check()
            return self.add(operation)

    def restore(self, state: bytes) -> PendingResult:
        """Begins the video from a snapshot. Raises BadRequest."""
        with self._lock:
            self.check()
            return self.add(operations.restoring(state))

    def remove(self, object_id: int) -> PendingResult:
        """Forgets an object. Raises UnknownObject if the server has no video yet."""
        with self._lock:
            self.check()
            operation = operations.removal(object_id)
            if not self.began:
                raise UnknownObject(f"object {object_id} was never prompted in this video.")
            return self.add(operation)

    def snapshot(self) -> PendingResult:
        """Asks for a snapshot. Raises BadRequest."""
        with self._lock:
            self.check()
            if not self.began:
                raise BadRequest("there is nothing to take a snapshot of: no frame was sent yet.")
            return self.add(operations.snapshot())

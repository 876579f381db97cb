"""Whether answers fit into the memory that a python model shares with Triton.

Triton copies answers there after `execute` has returned. Where one does not fit it answers all requests of the execution with an error, although the
bank has committed them. Masks are small; a snapshot of many objects is not.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from masklet.errors import ServerBusy

_SPARE = 4 << 20  # bytes for what else grows there


class AnswerRoom:
    """Counts the bytes of the answers of one execution. The region never shrinks, so what was answered once fits again."""

    def __init__(self, folder: Path = Path("/dev/shm")) -> None:
        self._folder = folder
        self._taken = 0
        self._grown = 0  # bytes that answers have taken at once so far

    def begin(self) -> None:
        """A new execution."""
        self._grown = max(self._grown, self._taken)
        self._taken = 0

    def take(self, tensors: Mapping[str, np.ndarray]) -> None:
        """Counts one more answer. Raises ServerBusy if there is no room for its snapshot."""
        nbytes = sum(array.nbytes for array in tensors.values())
        missing = self._taken + nbytes - self._grown  # Triton copies the answers of an execution when it has them all
        if len(tensors["SNAPSHOT"]) and missing > 0 and (free := self._free()) < missing + _SPARE:
            raise ServerBusy(
                f"a snapshot of {nbytes >> 20} MiB does not fit into the server's shared memory, {free >> 20} MiB of {self._folder} are free. "
                "Retry later, with fewer objects, or give the server more shared memory."
            )
        self._taken += nbytes

    def _free(self) -> int:
        facts = os.statvfs(self._folder)
        return facts.f_bavail * facts.f_frsize

"""The process that a video belongs to."""

from __future__ import annotations

import os


class Process:
    """The one that it is made in."""

    def __init__(self) -> None:
        self._pid = os.getpid()

    @property
    def is_another_process(self) -> bool:
        """See `Concurrency`."""
        return os.getpid() != self._pid

    def check_process(self) -> None:
        """See `Concurrency`."""
        if self.is_another_process:
            raise RuntimeError(
                f"this video was opened in process {self._pid}, and its connection stayed there: this is process {os.getpid()}, forked from it. "
                "The video goes on over there. Make a new Tracker and open a new video here, or start the process with the method 'spawn'."
            )

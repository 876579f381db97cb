"""Where a video was made: connections outlive neither a fork nor their event loop, and a call from elsewhere would wait for ever."""

from __future__ import annotations

import asyncio
import os


class Home:
    """This process; for asyncio also the running event loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop | None = None) -> None:
        self._pid = os.getpid()
        self._loop = loop

    @property
    def is_another_process(self) -> bool:
        """Whether this is a forked child."""
        return os.getpid() != self._pid

    def check(self) -> None:
        """Raises RuntimeError where the video cannot be used."""
        self.check_process()
        if self._loop is not None and asyncio.get_running_loop() is not self._loop:
            raise RuntimeError(
                "this video was opened in another event loop, such as that of an earlier asyncio.run(), and its connection belongs to that one. "
                "Make a new AsyncTracker and open a new video in this loop; a snapshot takes the video along."
            )

    def check_process(self) -> None:
        """Raises RuntimeError in a forked child."""
        if self.is_another_process:
            raise RuntimeError(
                f"this video was opened in process {self._pid}, and its connection stayed there: this is process {os.getpid()}, forked from it. "
                "The video goes on over there. Make a new Tracker and open a new video here, or start the process with the method 'spawn'."
            )

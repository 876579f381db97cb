"""Ctrl-C, SIGTERM and the end of a terminal: they end the work where nothing is half done."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType, TracebackType
from typing import Any

_SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))


class Stopped(KeyboardInterrupt):
    """Somebody wants the work to end."""


class Stopping:
    """While entered, the first of the signals raises Stopped, but not inside `whole`; further ones are ignored.

    signal  the number of the one that came; None: none did
    """

    def __init__(self) -> None:
        self.signal: int | None = None
        self._whole = False
        self._before: dict[int, Any] = {}

    @contextmanager
    def whole(self) -> Iterator[None]:
        """What is done inside is done to its end; then Stopped is raised where a signal came."""
        self._whole = True
        try:
            yield
        finally:
            self._whole = False
        if self.signal is not None:
            raise Stopped

    def finish(self) -> None:
        """From here on nothing is interrupted any more: what ends is being written."""
        self._whole = True

    def __enter__(self) -> Stopping:
        for number in _SIGNALS:
            if signal.getsignal(number) is not signal.SIG_IGN:  # as of a job in the background, or under nohup
                with suppress(ValueError):  # not in the main thread
                    self._before[number] = signal.signal(number, self._came)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        for number, before in self._before.items():
            signal.signal(number, before)

    def _came(self, number: int, frame: FrameType | None) -> None:
        if self.signal is None:
            self.signal = number
            if not self._whole:
                raise Stopped

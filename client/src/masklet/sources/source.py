"""What every source is, and what it tells of frames that cannot be read."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import import_module
from types import TracebackType
from typing import Any

from masklet.errors import SourceError
from masklet.sources.frame import Frame

log = logging.getLogger("masklet.sources")


@dataclass(frozen=True)
class Skipped:
    """A frame that could not be read: its index and name, as a Frame has them, and why."""

    index: int
    name: str
    why: str


Tell = Callable[[Skipped], None]


def warn(skipped: Skipped) -> None:
    """Logs a warning."""
    log.warning("frame %d (%s) is skipped: %s", skipped.index, skipped.name, skipped.why)


class Source:
    """Frames, one after the other: an iterator, and a context manager that closes it. Several threads may take them, one at a time.

    Raises SourceError when it cannot go on, or had no frame at all.

    fps    frames per second, on average
    count  how many frames there are, as far as the file says; None: nobody knows
    live   it does not end, and gives the newest frame each time
    """

    def __init__(
        self,
        name: str,
        frames: Iterator[Frame],
        *,
        fps: float,
        count: int | None = None,
        live: bool = False,
        close: Callable[[], None] = lambda: None,
    ) -> None:
        self.fps, self.count, self.live = fps, count, live
        self._name, self._frames, self._close, self._any, self._closed = name, frames, close, False, False
        self._taking = threading.Lock()

    def __iter__(self) -> Iterator[Frame]:
        return self

    def __next__(self) -> Frame:
        with self._taking:
            frame = None if self._closed else next(self._frames, None)
        if frame is None and not self._any and not self._closed:
            raise SourceError(f"{self._name}: no frame of it could be read. See whether a player shows it.")
        if frame is None:
            raise StopIteration
        self._any = True
        return frame

    def close(self) -> None:
        """Ends it. May be called more than once, for live sources also from another thread."""
        self._closed = True
        self._close()

    def __enter__(self) -> Source:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self.close()


def need(module: str) -> Any:
    """A module of the extra `video`. Raises SourceError that says how to install it."""
    try:
        return import_module(module)
    except ImportError as error:
        package = {"PIL": "Pillow"}.get(module.split(".")[0], module)
        raise SourceError(f"reading this needs {package}, which cannot be imported ({error}): pip install 'masklet[video]'") from error

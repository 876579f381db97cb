"""The newest frame wins: one place, where what nobody took gives way to what comes next."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Iterator
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from masklet.sources.frame import Frame
from masklet.sources.source import Source

T = TypeVar("T")


class Slot(Generic[T]):
    """One thread puts, another takes: the newest, with its number among all that came since the first that was taken, which is 0."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._newest: tuple[int, T] | None = None
        self._count = 0
        self._first: int | None = None
        self._ended = self._closed = False
        self._error: BaseException | None = None

    def put(self, item: T) -> None:
        """In the place of the one before, if nobody took that."""
        with self._changed:
            self._newest = (self._count, item)
            self._count += 1
            self._changed.notify_all()

    def end(self, error: BaseException | None = None) -> None:
        """Nothing comes any more: who takes gets the newest, and then the error or the end."""
        with self._changed:
            self._ended, self._error = True, error
            self._changed.notify_all()

    def close(self) -> None:
        """Nobody takes any more."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def __iter__(self) -> Iterator[tuple[int, T]]:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._newest or self._ended or self._closed)
                taken, self._newest = self._newest, None
            if self._closed:
                return
            if taken is None:
                if self._error:
                    raise self._error
                return
            number, item = taken
            self._first = number if self._first is None else self._first
            yield number - self._first, item


def newest(frames: Iterable[NDArray[np.uint8]], *, fps: float = 30.0, name: str = "camera") -> Source:
    """A live source of frames that come by themselves, such as those of a camera loop of your own: for `Video.follow`.

    A thread takes them all, as they come, and keeps the newest. It ends with `frames`, or at the next one after `close`.

    frames  uint8 (H, W, 3) RGB each (with `bgr=True` of `follow`: as OpenCV reads them); each a new array, since it may still be on its way when the
            next one comes
    fps     frames per second, about
    name    what errors call it
    """
    slot: Slot[tuple[NDArray[np.uint8], float]] = Slot()
    closing = threading.Event()

    def read() -> None:
        try:
            for frame in frames:
                slot.put((frame, time.monotonic()))
                if closing.is_set():
                    return
            slot.end()
        except BaseException as error:  # whatever it is, it must not leave the caller waiting
            slot.end(error)

    def given() -> Iterator[Frame]:
        first: float | None = None
        for index, (frame, arrived_s) in slot:
            first = arrived_s if first is None else first
            yield Frame(index, arrived_s - first, f"{index:05}", frame, frame.shape[:2], arrived_s)

    def close() -> None:
        closing.set()
        slot.close()

    threading.Thread(target=read, name="masklet-source", daemon=True).start()
    return Source(name, given(), fps=fps, live=True, close=close)

"""Whether a catch-up will get there, by how fast it replays and how fast the live video adds frames."""

from __future__ import annotations

import math
from collections.abc import Callable

_SURE = 8  # replayed frames, after which the rates are believed


class Pace:
    """Of one catch-up. It takes backlog / (stride * replayed per second - live frames per second); `within_s` is what it may take."""

    def __init__(self, within_s: float, clock: Callable[[], float]) -> None:
        self._within_s = within_s
        self._clock = clock
        self._begin = clock()
        self._replayed = 0

    def replayed(self) -> None:
        """One frame more was answered."""
        self._replayed += 1

    def rates(self, arrived: int) -> tuple[float, float]:
        """Frames per second replayed, and live; `arrived` of those came since it began."""
        seconds = max(self._clock() - self._begin, 1e-6)
        return self._replayed / seconds, arrived / seconds

    def stride(self, backlog: int, arrived: int) -> int:
        """Of how many frames one is to be replayed, so that it gets there in time. 1: all."""
        if self._replayed < _SURE:
            return 1
        replayed, live = self.rates(arrived)
        return max(1, math.ceil((live + backlog / self._within_s) / replayed - 1e-9))

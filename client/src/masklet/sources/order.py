"""Which frame of a video a decoded picture is, where others were lost."""

from __future__ import annotations

import heapq


class Order:
    """Counts the frames of a video by the times of its packets.

    A decoder gives pictures in the order in which they are shown, some packets later than it got them, and an error says neither which frame it was
    nor when it was due. So the times of packets that went in are kept until a picture with that time comes out. A time that is passed over
    belongs to a frame that was lost, but only where the decoder complained: packets without a picture of their own are common in whole files.
    """

    def __init__(self, fps: float, time_base: float) -> None:
        self._fps, self._base = fps, time_base
        self._due: list[int] = []  # times of packets that no picture was seen of
        self._errors: list[tuple[int | None, str]] = []  # with the newest time that the decoder had got
        self._newest: int | None = None
        self._index = 0
        self._first: int | None = None
        self._last_s = 0.0

    def sent(self, pts: int | None) -> None:
        """A packet goes to the decoder."""
        if pts is not None:
            heapq.heappush(self._due, pts)
            self._newest = pts if self._newest is None else max(pts, self._newest)

    def failed(self, why: str) -> None:
        """The decoder refused something."""
        self._errors.append((self._newest, why))

    def before(self, pts: int | None) -> list[tuple[int, str]]:
        """Index and reason of each frame that was lost before the picture of this time."""
        missing = 0
        while pts is not None and self._due and self._due[0] < pts:
            heapq.heappop(self._due)
            missing += 1
        if pts is None:
            missing = len(self._errors)
        lost = self._lost(missing)
        while pts is not None and self._errors and (self._errors[0][0] or 0) <= pts:
            self._errors.pop(0)  # nothing was lost by it
        return lost

    def rest(self) -> list[tuple[int, str]]:
        """The same, when no more pictures come."""
        return self._lost(len(self._due) if self._newest is not None else len(self._errors))

    def place(self, pts: int | None) -> tuple[int, float]:
        """Index and seconds after the first frame of the picture of this time."""
        while pts is not None and self._due and self._due[0] == pts:
            heapq.heappop(self._due)
        index, self._index = self._index, self._index + 1
        self._last_s = self._time(index, pts)
        return index, self._last_s

    def _lost(self, missing: int) -> list[tuple[int, str]]:
        lost = []
        for _ in range(min(missing, len(self._errors))):
            lost.append((self._index, self._errors.pop(0)[1]))
            self._index += 1
        return lost

    def _time(self, index: int, pts: int | None) -> float:
        """By its own time; after the frame before it in any case."""
        if pts is None:
            time_s = index / self._fps
        else:
            self._first = pts - round(index / self._fps / self._base) if self._first is None else self._first
            time_s = (pts - self._first) * self._base
        return time_s if index == 0 or time_s > self._last_s else self._last_s + 1 / self._fps

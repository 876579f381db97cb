"""Which frame of a video a decoded picture is, where others were lost."""

from __future__ import annotations

import heapq


class Order:
    """Counts the frames of a video by the times of its packets.

    A decoder gives pictures in the order in which they are shown, some packets later than it got them, and an error does not say which frame it cost.
    So the times of packets are kept until a picture with that time comes out. A time that is passed over is a lost frame, but only from an error to
    the next key frame: packets without a picture of their own are common in whole files. Where packets have no times, each error is one frame.
    """

    def __init__(self, fps: float, time_base: float) -> None:
        self._fps, self._base = fps, time_base
        self.due: list[int] = []  # times of packets that no picture was seen of; a heap
        self.last: int | None = None  # time of the newest picture
        self._index = 0
        self._zero = 0  # time of frame 0
        self.shown_s = 0.0  # when that is, in seconds after the first
        self._why = ""  # since the last key frame
        self._until = 0  # newest time that the decoder had when it complained
        self._newest = 0
        self._errors = 0  # not accounted for yet

    def sent(self, pts: int | None) -> None:
        """A packet goes to the decoder. The same may be sent again to another one."""
        if pts is not None and (self.last is None or pts > self.last) and pts not in self.due:
            heapq.heappush(self.due, pts)
            self._newest = max(pts, self._newest)

    def failed(self, why: str) -> None:
        """The decoder complained."""
        self._why, self._until = why, self._newest
        self._errors += 1

    def place(self, pts: int | None, key: bool) -> tuple[int, float, list[tuple[int, str]]]:
        """Index and seconds after the first frame of a picture, and index and reason of each frame that was lost before it."""
        passed, earliest = self._errors, min(self.due, default=pts)
        if pts is not None:
            passed = 0
            while self.due and self.due[0] < pts:
                heapq.heappop(self.due)
                passed += 1
            while self.due and self.due[0] == pts:
                heapq.heappop(self.due)
        lost = self._lost(passed)
        if pts is None or (key and pts > self._until):
            self._why = ""
        if self.last is None:
            self._zero = (earliest if lost else pts) or 0
        index, self._index = self._index, self._index + 1
        time_s = self._time(index, pts)
        self.last, self.shown_s = pts, time_s
        return index, time_s, lost

    def rest(self) -> list[tuple[int, str]]:
        """Index and reason of each frame that was lost after the last picture."""
        return self._lost(len(self.due) or self._errors)

    def _lost(self, passed: int) -> list[tuple[int, str]]:
        count = passed if self._why else 0
        first, self._index = self._index, self._index + count
        self._errors = 0
        return [(index, self._why) for index in range(first, self._index)]

    def _time(self, index: int, pts: int | None) -> float:
        """By its own time; after the frame before it in any case."""
        if pts is None:
            return index / self._fps
        time_s = (pts - self._zero) * self._base
        return time_s if self.last is None or time_s > self.shown_s else self.shown_s + 1 / self._fps

"""How many videos to try next: first the search for the largest number within the objective, then the measured runs below it. No input or output."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import NamedTuple

from benchmarks.load.figures import Verdict

SHARE = 0.8  # of the capacity, at which latency is measured
_VOIDS = 3  # in a row, after which it is no accident


class GaveUp(Exception):
    """No result can be had. The text says why."""


class Level(NamedTuple):
    """So many videos at once, and what for: "search" or "run"."""

    purpose: str
    videos: int


@dataclass
class Search:
    """Doubles the number of videos until one fails, then halves the interval between the best that passed and the least that failed.

    Machines are noisy, so a verdict near the objective is asked for again until two of at most three agree. A clear one decides at once.

    most  no more videos than this are tried
    """

    most: int
    good: int = 0
    bad: int | None = None
    votes: Counter[str] = field(default_factory=Counter)

    def level(self) -> int | None:
        """The number of videos to try; None: `good` is the answer."""
        if self.bad is None:
            return None if self.good == self.most else min(max(1, 2 * self.good), self.most)
        return (self.good + self.bad) // 2 if self.bad - self.good > max(1, self.good // 20) else None

    def record(self, verdict: Verdict) -> None:
        """Takes the verdict on `level()`, which is not void."""
        level = self.level()
        assert level is not None
        self.votes[verdict.outcome] += 2 if verdict.clear else 1
        if self.votes["passed"] >= 2:
            self.good = level
        elif self.votes["failed"] >= 2:
            self.bad = level
        else:
            return
        self.votes.clear()


@dataclass
class Plan:
    """The search, unless the number of videos is given, and then so many runs, all at one number of videos.

    Void windows count for nothing and are repeated; `record` raises GaveUp when that does not help.

    capacity  what the search found; None: nothing yet
    """

    runs: int
    videos: int | None
    search: Search
    capacity: int | None = None
    _voids: int = 0

    def next(self) -> Level | None:
        """What to try; None: done."""
        if self.videos is None:
            level = self.search.level()
            if level is not None:
                return Level("search", level)
            self.capacity = self.search.good
            if self.capacity == 0:
                return None
            self.videos = max(1, round(SHARE * self.capacity))
        return Level("run", self.videos) if self.runs else None

    def record(self, verdict: Verdict) -> None:
        """Takes the verdict on what `next` gave."""
        if verdict.outcome == "void":
            self._voids += 1
            if self._voids == _VOIDS:
                raise GaveUp(f"{_VOIDS} windows in a row were void; the last: {verdict.reason}.")
            return
        self._voids = 0
        if self.videos is None:
            self.search.record(verdict)
        else:
            self.runs -= 1

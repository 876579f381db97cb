"""The course of a load test, step by step: wait until all is quiet, switch so many cameras on, let them warm up, measure, judge, go on.

Knows neither locust nor a clock: `Trials.tick` is told the time, so that tests run hours in no time.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Set
from dataclasses import dataclass, field

from benchmarks.load.figures import ENOUGH, Figures, Limits, Verdict, figures, judge
from benchmarks.load.plan import GaveUp, Level, Plan
from benchmarks.load.schedule import TIMEOUT_S, Batch, Sample

_PATIENCE_S = 60.0 + TIMEOUT_S  # for cameras to start, to stop, or to tell of their last frame


@dataclass
class Book:
    """What all generator processes told. Times are seconds since 1970, so the clocks of their machines must agree to a part of the warm-up."""

    _latest: dict[str, Batch] = field(default_factory=dict)
    _batches: list[Batch] = field(default_factory=list)

    def add(self, source: str, batch: Batch) -> None:
        """Takes what the process `source` told."""
        self._latest[source] = batch
        self._batches.append(batch)

    def resting(self, sources: Set[str], since: float) -> bool:
        """Whether each of them has told since then that nothing is on its way."""
        return bool(sources) and all(
            (batch := self._latest.get(source)) is not None and batch.at > since and batch.pending == 0 for source in sources
        )

    def told_until(self, sources: Set[str]) -> float:
        """Every frame that was due before is in the book."""
        return min((self._latest[source].until if source in self._latest else 0.0 for source in sources), default=0.0)

    def window(self, begin: float, end: float) -> tuple[list[Sample], float]:
        """The requests that were due from `begin` on and before `end`, and the largest share of a CPU that a process used meanwhile."""
        samples = [sample for batch in self._batches for sample in batch.samples if begin <= sample.due < end]
        return samples, max((batch.busy for batch in self._batches if begin < batch.at <= end), default=0.0)

    def clear(self) -> None:
        """Forgets what was told of the past."""
        self._batches.clear()


@dataclass(frozen=True)
class Times:
    """In seconds. longest_s: of a run that has fewer than ENOUGH frames; other windows last for window_s."""

    warmup_s: float
    window_s: float
    longest_s: float


@dataclass(frozen=True)
class Trial:
    """A level that was tried. figures: None if nothing could be measured."""

    level: Level
    verdict: Verdict
    figures: Figures | None = None


class Trials:
    """Carries a plan out.

    times    how long a level runs before it is measured, and how long it is measured
    done     what was tried, in order
    gave_up  why there is no result; None: there is one, or not yet
    """

    def __init__(self, plan: Plan, limits: Limits, times: Times, book: Book, say: Callable[[str], None]) -> None:
        self._plan, self._limits, self._times, self._book, self._say = plan, limits, times, book, say
        self._steps = self._course()
        self._level: Level | None = None
        self.done: list[Trial] = []
        self.gave_up: str | None = None

    def tick(self, now: float, live: int, sources: Set[str]) -> int | None:
        """How many cameras shall run; None: the test is over. Call it about once a second.

        now      seconds since 1970
        live     how many cameras run
        sources  the generator processes that are connected
        """
        self._now, self._live, self._sources = now, live, set(sources)
        return next(self._steps, None)

    @property
    def capacity(self) -> int | None:
        """The largest number of videos within the objective; None: not searched, or not found."""
        return self._plan.capacity

    @property
    def measures_next(self) -> bool:
        """Whether the first of the measured runs is about to begin."""
        return self._level is not None and self._level.purpose == "run" and all(trial.level.purpose == "search" for trial in self.done)

    def _course(self) -> Generator[int, None, None]:
        try:
            while level := self._plan.next():
                self._level = level
                yield from self._rest()
                trial = yield from self._try(level)
                self.done.append(trial)
                self._say(f"{level.purpose}, {level.videos} videos: {trial.verdict.outcome}, {trial.verdict.reason}")
                self._plan.record(trial.verdict)
        except GaveUp as reason:
            self.gave_up = str(reason)
            self._say(f"gave up: {reason}")

    def _rest(self) -> Generator[int, None, None]:
        """Until no camera runs and nothing is on its way: a level must not inherit the queue of the one before."""
        began = self._now
        while self._live or not self._book.resting(self._sources, began):
            if self._now > began + _PATIENCE_S:
                raise GaveUp(f"the cameras did not come to rest within {_PATIENCE_S:g} s; {self._live} still run.")
            yield 0
        self._book.clear()

    def _try(self, level: Level) -> Generator[int, None, Trial]:
        asked, sources = self._now, self._sources
        while self._live < level.videos:
            if self._now > asked + _PATIENCE_S:
                return Trial(level, Verdict("void", f"only {self._live} of {level.videos} cameras started"))
            yield level.videos
        begin = self._now + self._times.warmup_s
        end = begin + self._times.window_s
        while self._now < begin:
            yield level.videos
        self._say(f"{level.purpose}, {level.videos} videos: measuring for {self._times.window_s:g} s")
        while (told := min(self._now, self._book.told_until(self._sources))) < end or (end := self._longer(level, begin, end)) > told:
            if self._now > end + _PATIENCE_S:
                return Trial(level, Verdict("void", "the generator did not tell what became of its last frames"))
            yield level.videos
        if self._sources != sources:
            return Trial(level, Verdict("void", "a process of the generator came or went"))
        found = figures(*self._book.window(begin, end))
        return Trial(level, judge(found, self._limits), found)

    def _longer(self, level: Level, begin: float, end: float) -> float:
        """When a window ends that has lasted until `end`: a run with too few frames goes on, as long as it may. Latencies have no say in it."""
        frames = sum(sample.kind == "frame" for sample in self._book.window(begin, end)[0])
        if level.purpose == "search" or frames >= ENOUGH:
            return end
        return max(end, min(self._now + 1, begin + self._times.longest_s))

"""One run: record the honest videos alone, warm up, attack, and look at the server before and after."""

from __future__ import annotations

import random
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from benchmarks.footprint import Slope, memory_by_process, slope
from benchmarks.fuzz import honest
from benchmarks.fuzz.attackers import ANSWER_S, Attacker, shots
from benchmarks.fuzz.registry import INNER, Kind, World
from benchmarks.fuzz.stream import inputs
from benchmarks.fuzz.tally import FOREIGN, SILENT, Tally
from benchmarks.fuzz.twins import Twins
from benchmarks.supervised import Supervised
from masklet import MaskletError, Tracker
from masklet.health import Health, probe

ALLOWED_GROWTH = 20_000_000  # bytes, from rest to rest
IDLE_S = 20  # after which the server forgets a silent video; so a rest need not be long
_LOOK_S = 2.0
_REST_S = 3 * IDLE_S
_NAMED = 3  # examples of what went wrong that are shown


@dataclass(frozen=True)
class Plan:
    """How much of everything. warm_up: requests before the memory is first looked at, which do not count among `requests`."""

    requests: int
    warm_up: int
    minutes: float
    workers: int
    fps: float
    seed: int


@dataclass
class Outcome:
    """What was found. Memory in bytes by process; None where the server is not ours."""

    tally: Tally
    witnesses: list[honest.Witness]
    twins: Twins
    seconds: float
    restarts: list[str] = field(default_factory=list)
    changed: bool = False  # whether processes were replaced
    before: dict[str, int] | None = None
    after: dict[str, int] | None = None
    looks: list[tuple[float, int]] = field(default_factory=list)  # seconds and bytes while attacked
    doubts: list[str] = field(default_factory=list)  # of health checks
    mistakes: float = 0.0  # that the bank found in what it holds

    @property
    def growth(self) -> int:
        """Bytes from rest to rest."""
        return sum((self.after or {}).values()) - sum((self.before or {}).values())

    def line(self) -> Slope | None:
        """Through the looks while attacked: bytes per second."""
        return slope(*zip(*self.looks, strict=True)) if len(self.looks) > 2 else None

    def faults(self, plan: Plan) -> list[str]:
        """Every invariant that did not hold, in words."""
        by_code, found = self.tally.by_code(), []
        found += [f"restart: {line}" for line in self.restarts[:_NAMED]]
        found += ["processes of the server were replaced"] if self.changed and not self.restarts else []
        found += [f"health: {text}" for text in self.doubts[:_NAMED]]
        for number, seen in enumerate(self.witnesses):
            found += [f"honest video answered otherwise than alone: {place}" for place in seen.wrong[:_NAMED]]
            found += [f"honest video failed: {text[:200]}" for text in seen.failed[:_NAMED]]
            found += [] if seen.compared else [f"honest video {number} was never answered"]
        found += [f"a refused request changed something, {text}" for text in self.twins.differences[:_NAMED]]
        found += [f"the bank found {self.mistakes:.0f} mistakes in what it holds; Triton's log says which"] if self.mistakes else []
        found += [] if self.twins.compared else ["twins were never compared"]
        found += [f"{count} requests without an answer" for what, count in by_code.items() if what == SILENT]
        if self.before is not None and not self.changed and self.growth > ALLOWED_GROWTH:
            found.append(f"memory grew by {self.growth / 1e6:.1f} MB after the warm-up; {ALLOWED_GROWTH / 1e6:.0f} are allowed")
        if self.tally.sent < plan.warm_up + plan.requests:
            found.append(f"only {self.tally.sent} of {plan.warm_up + plan.requests} requests were sent in {plan.minutes:g} minutes")
        return found

    def foreign(self) -> dict[str, int]:
        """Errors without a code of masklet's, which are counted but break no promise."""
        return {what.removeprefix(FOREIGN): count for what, count in self.tally.by_code().most_common() if what.startswith(FOREIGN)}


class Run:
    """Holds what the threads share."""

    def __init__(self, plan: Plan, kinds: Sequence[Kind], server: Supervised | None, url: str, dangerous: bool) -> None:
        self._plan, self._kinds, self._server, self._fixed = plan, kinds, server, url
        self._world, self._tally = World(dangerous=dangerous), Tally()
        self._over = threading.Event()
        self._rngs = [random.Random(f"{plan.seed} {number}") for number in range(plan.workers + 1)]
        self._shots = [shots(rng, kinds, self._world) for rng in self._rngs[:-1]]
        self._twins = Twins(kinds, self._rngs[-1], self._url, self._world, self._tally)

    def _url(self) -> str:
        """Where the server is, once it is there: it may have to start again. Raises RuntimeError where it does not."""
        if not self._server:
            return self._fixed
        self._server.wait_until_up()
        return self._server.url

    def run(self) -> Outcome:
        """Everything in its order. Raises MaskletError where the server is not well to begin with."""
        films = honest.films()
        expected = [honest.alone(self._url(), film) for film in films]
        with Tracker(self._url(), timeout_s=ANSWER_S) as tracker, tracker.open() as video:
            video.prompt(1, points=[films[0].click])
            for frame in films[0].frames[:4]:
                video.track(frame)
            self._world.snapshot = video.snapshot()
        self._world.models = {model: inputs(self._url(), model) for model in INNER}
        print(f"{len(films)} honest videos alone: {sum(map(len, expected))} answers recorded", file=sys.stderr)
        people = [
            honest.Honest(number, film, expected[number], self._url, self._world, self._plan.fps, self._over) for number, film in enumerate(films)
        ]
        processes = self._processes()
        outcome = Outcome(self._tally, [one.seen for one in people], self._twins, 0.0)
        watch = threading.Thread(target=self._watch, args=(outcome,), daemon=True)
        begin = time.monotonic()
        for thread in (*people, watch):
            thread.start()
        try:
            self._phases(outcome, begin)
        finally:
            self._tally.stopping.set()
            self._over.set()
            for thread in (*people, watch):
                thread.join(ANSWER_S)
        outcome.seconds = time.monotonic() - begin
        outcome.changed = self._processes() != processes
        outcome.restarts = self._server.restarts[:] if self._server else []
        return outcome

    def _phases(self, outcome: Outcome, begin: float) -> None:
        deadline = begin + 60 * self._plan.minutes
        self._attack(self._plan.warm_up, deadline)
        outcome.before = self._at_rest()
        attack_begin = time.monotonic()
        self._attack(self._plan.requests, deadline, self._twins)
        outcome.looks = [(moment, size) for moment, size in outcome.looks if moment >= attack_begin]
        outcome.after = self._at_rest()
        outcome.mistakes = self._server.metric("masklet_integrity_errors_total", default=0.0) if self._server else 0.0

    def _attack(self, requests: int, deadline: float, *beside: threading.Thread) -> None:
        """Sends so many requests more, as far as time allows. beside: threads that go on as long."""
        self._tally.wanted = self._tally.sent + requests
        if self._tally.stopping.is_set():
            return
        attackers = [Attacker(each, rng, self._url, self._world, self._tally) for each, rng in zip(self._shots, self._rngs, strict=False)]
        for thread in (*attackers, *beside):
            thread.start()
        for thread in attackers:
            thread.join(max(0.0, deadline - time.monotonic()))
        if time.monotonic() >= deadline:
            self._tally.stopping.set()
        for thread in (*attackers, *beside):
            thread.join(2 * ANSWER_S)

    def _processes(self) -> list[int]:
        return sorted([self._server.pid, *self._server.stubs()]) if self._server else []

    def _at_rest(self) -> dict[str, int] | None:
        """Memory once the server has forgotten all videos but the honest ones."""
        if not self._server:
            return None
        deadline = time.monotonic() + _REST_S
        while self._server.metric("masklet_videos", default=float("inf")) > honest.VIDEOS and time.monotonic() < deadline:
            time.sleep(1)
        time.sleep(_LOOK_S)
        return memory_by_process(self._server.pid)

    def _watch(self, outcome: Outcome) -> None:
        """Looks at memory and health, and says how far it is."""
        begin, rounds = time.monotonic(), 0
        while not self._over.wait(_LOOK_S):
            rounds += 1
            if self._server:
                with suppress(OSError):  # a process ended while we looked: the supervisor says so
                    outcome.looks.append((time.monotonic(), sum(memory_by_process(self._server.pid).values())))
            if rounds % 5 == 0:
                self._check(outcome)
            seconds, sent = time.monotonic() - begin, self._tally.sent
            compared = sum(seen.compared for seen in outcome.witnesses)
            restarts = len(self._server.restarts) if self._server else 0
            print(
                f"\r{sent} of {self._plan.warm_up + self._plan.requests} requests, {sent / seconds:.0f}/s, {compared} honest answers, "
                f"{restarts} restarts, {seconds / 60:.1f} min ",
                end="" if sys.stderr.isatty() else "\n",
                file=sys.stderr,
                flush=True,
            )

    def _check(self, outcome: Outcome) -> None:
        """Whether a request that tracks is answered."""
        try:
            finding = probe(self._url(), ANSWER_S)
        except MaskletError as error:
            outcome.doubts.append(str(error))
            return
        if finding.health is not Health.ALIVE:
            outcome.doubts.append(f"{finding.health.value}: {finding.text}")

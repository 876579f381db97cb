"""When which fault strikes: drawn by a seed before anything runs, so that it can be printed and repeated."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.soak.faults import KINDS

QUIET_S = 20.0  # before the first fault and after the last


@dataclass(frozen=True)
class Planned:
    """A fault to come.

    at_s     after the beginning; later where the one before takes so long
    kind     a name in KINDS
    seconds  how long it lasts, or what it does is held up
    number   what else is drawn in it
    """

    at_s: float
    kind: str
    seconds: float
    number: int

    def __str__(self) -> str:
        return f"{self.at_s:8.1f} s  {self.kind}" + (f", {self.seconds:.1f} s" if self.seconds else "")


def schedule(seed: int, minutes: float, kinds: Sequence[str], pause_s: float) -> list[Planned]:
    """Rounds of all kinds, in each in another order, with pauses of `pause_s` on average. The end of the time is left quiet."""
    planned: list[Planned] = []
    chance, at_s = random.Random(f"schedule {seed}"), QUIET_S
    while kinds:
        for kind in chance.sample(kinds, len(kinds)):
            low, high = KINDS[kind].seconds
            seconds = chance.uniform(low, high)
            if at_s + seconds > 60 * minutes - QUIET_S:
                return planned
            planned.append(Planned(at_s, kind, seconds, chance.randrange(2**31)))
            at_s += seconds + chance.expovariate(1 / pause_s)
    return planned

"""How hard a video tries to survive."""

from __future__ import annotations

import random
from dataclasses import dataclass

_FIRST_DELAY_S = 0.1
_LONGEST_DELAY_S = 2.0
_DOUBLINGS = 10  # a server may drain for hours: the power must not overflow


@dataclass(frozen=True)
class Resilience:
    """Settings of `Tracker.open(resilient=...)`; the defaults are those of `resilient=True`.

    snapshot_every  a snapshot comes with every so many-th request. The client keeps one, and the requests after it: that many and those on their
                    way, as they were sent. More often costs bytes on the network, less often memory and a longer replay. At 8 four objects of
                    nano pay 0.3 % of their time and 149 KiB per frame, and wait a second at most (benchmarks/results/snapshots.md)
    watchdog_s      a server that does not answer for so long is given up; None: a third of the tracker's `timeout_s`. Each time that happens
                    to one video in a row doubles it, up to `timeout_s`, so that servers that are only slow are not asked for ever
    give_up_s       for so long another server is looked for; then VideoLost is raised, with the snapshot

    Raises ValueError.
    """

    snapshot_every: int = 8
    watchdog_s: float | None = None
    give_up_s: float = 60.0

    def __post_init__(self) -> None:
        if self.snapshot_every < 1:
            raise ValueError(f"snapshot_every must be at least 1, got {self.snapshot_every}.")
        for name, value in (("watchdog_s", self.watchdog_s), ("give_up_s", self.give_up_s)):
            if value is not None and value <= 0:
                raise ValueError(f"{name} must be above 0, got {value:g}.")

    def patience_s(self, timeout_s: float, silences: int) -> float:
        """How long an answer may take, after so many servers in a row that were silent. Raises ValueError if watchdog_s is over `timeout_s`."""
        first = timeout_s / 3 if self.watchdog_s is None else self.watchdog_s
        if first > timeout_s:
            raise ValueError(f"watchdog_s is {first:g}, more than the tracker's timeout_s of {timeout_s:g}. Give the tracker a larger timeout_s.")
        doubled: float = first * 2 ** min(silences, _DOUBLINGS)
        return min(timeout_s, doubled)


def spread_s(hint_s: float) -> float:
    """How long to wait where a full server said so many seconds: about that, since all who were refused were told the same."""
    return random.uniform(0.5 * hint_s, 1.5 * hint_s)


def delay_s(rounds: int) -> float:
    """How long to wait after so many rounds through all servers: anything up to a limit that doubles, so that videos that were lost together
    do not come back together ("full jitter": https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/)."""
    return random.uniform(0, min(_LONGEST_DELAY_S, _FIRST_DELAY_S * 2 ** min(rounds - 1, _DOUBLINGS)))

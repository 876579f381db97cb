"""What was sent and what came back, counted by all attackers together."""

from __future__ import annotations

import re
import threading
import time
from collections import Counter, deque
from dataclasses import dataclass, field

_OWN = re.compile(r"MASKLET_([A-Z_]+):")
_PREFIX = re.compile(r"^(\[[^\]]*\] |in ensemble '...', )*")  # the request's id, the model
_LONGEST = 110
SUCCESS, GONE, BROKEN, SILENT = "success", "client gone", "stream broken", "no answer"
FOREIGN = "other error: "


def code(text: str) -> str:
    """What an error text is counted as: masklet's code, or the words of Triton without names and numbers."""
    own = _OWN.search(text)
    if own:
        return own[1]
    words = _PREFIX.sub("", re.sub(r"'[^']*'", "'...'", text))
    return FOREIGN + re.sub(r"\d+", "#", words.partition(". Got input(s)")[0])[:_LONGEST]


@dataclass
class Tally:
    """Safe for threads.

    wanted   requests that may be sent until the next rest; `take` says when they are used up
    counts   (kind, what it came to) -> how many
    longest  kind -> seconds of the slowest answer, with what was before it on its stream
    lost     kind -> how often it was on its way when a stream broke
    suspects the kinds on their way when streams broke, with the time
    """

    wanted: int = 0
    sent: int = 0
    counts: Counter[tuple[str, str]] = field(default_factory=Counter)
    longest: dict[str, float] = field(default_factory=dict)
    lost: Counter[str] = field(default_factory=Counter)
    suspects: deque[tuple[float, list[str]]] = field(default_factory=lambda: deque(maxlen=500))
    stopping: threading.Event = field(default_factory=threading.Event)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def take(self) -> bool:
        """Whether one more request may be sent, which is then counted."""
        with self._lock:
            if self.stopping.is_set() or self.sent >= self.wanted:
                return False
            self.sent += 1
            return True

    def came(self, kind: str, what: str, seconds: float = 0.0) -> None:
        """Counts what a request came to."""
        with self._lock:
            self.counts[kind, what] += 1
            self.longest[kind] = max(seconds, self.longest.get(kind, 0.0))

    def broke(self, kinds: list[str]) -> None:
        """A stream broke while these were on their way."""
        with self._lock:
            self.suspects.append((time.monotonic(), kinds))
            self.lost.update(kinds)

    def by_code(self) -> Counter[str]:
        """How many requests came to each thing."""
        with self._lock:
            found: Counter[str] = Counter()
            for (_, what), count in self.counts.items():
                found[what] += count
            return found

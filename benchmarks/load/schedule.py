"""When the frames of a camera are due, and what became of each: the open loop.

A camera does not wait for answers, so neither does its schedule: frame k is due at a time that is known before the video begins, and whatever holds
it up later, in the server or in the generator itself, counts.
"""

from __future__ import annotations

import itertools
import time
from dataclasses import asdict, dataclass, field
from typing import Any, NamedTuple

BUFFER_S = 2.0  # of video that a camera holds without an answer; frames that are due beyond that are dropped and counted as lost
TIMEOUT_S = 10.0  # after which an answer is given up
RETRY_S = 1.0  # between the failure of a video and the first frame of the next


@dataclass(frozen=True)
class Schedule:
    """The times of a video's frames. `begin`: when frame 0 is due, in seconds of any clock."""

    begin: float
    fps: float

    def due(self, index: int) -> float:
        """When frame `index` is due, whatever happened to the frames before it."""
        return self.begin + index / self.fps

    @property
    def most_unanswered(self) -> int:
        """How many frames a camera may have on their way."""
        return max(1, round(BUFFER_S * self.fps))


class Sample(NamedTuple):
    """What became of one request.

    kind        "frame" or "END"
    due         when it was due, in seconds since 1970
    lag_ms      from then until the generator handed it to the client: how late the generator was
    latency_ms  from when it was due until it was answered; None: it was not
    service_ms  from when it was handed over until it was answered
    error       why there is no answer
    """

    kind: str
    due: float
    lag_ms: float
    latency_ms: float | None
    service_ms: float | None
    error: str | None


@dataclass
class Batch:
    """What a generator process tells once a second.

    samples  what was settled since the last batch
    at       when it was made, in seconds since 1970
    until    every frame that was due before has been told
    pending  frames on their way or due next: 0 when no camera runs
    busy     share of one CPU that the process used since the last batch
    """

    samples: list[Sample]
    at: float
    until: float
    pending: int
    busy: float

    def plain(self) -> dict[str, Any]:
        """Of lists and numbers, to be sent to another process."""
        return asdict(self)

    @classmethod
    def read(cls, plain: dict[str, Any]) -> Batch:
        """The batch that was sent."""
        return cls(**plain | {"samples": [Sample(*sample) for sample in plain["samples"]]})


@dataclass
class Ledger:
    """The requests of one generator process. Times are `time.monotonic()`."""

    _to_wall: float = field(default_factory=lambda: time.time() - time.monotonic())  # workers on other machines have other monotonic clocks
    _pending: dict[int, float] = field(default_factory=dict)
    _numbers: itertools.count[int] = field(default_factory=itertools.count)
    _samples: list[Sample] = field(default_factory=list)
    _last: tuple[float, float] = field(default_factory=lambda: (time.monotonic(), time.process_time()))

    def expect(self, due: float) -> int:
        """Enters a frame as soon as it is the next of its camera, before the wait: a generator that oversleeps cannot leave it out."""
        number = next(self._numbers)
        self._pending[number] = due
        return number

    def cancel(self, number: int) -> None:
        """The camera was switched off before the frame was due."""
        del self._pending[number]

    def settle(self, number: int, sent: float, *, kind: str = "frame", answered: float | None = None, error: str | None = None) -> None:
        """Says what became of an entry. `sent`: when it was handed to the client, or dropped."""
        due = self._pending.pop(number)
        latency, service = (None, None) if answered is None else (1000 * (answered - due), 1000 * (answered - sent))
        self._samples.append(Sample(kind, due + self._to_wall, 1000 * (sent - due), latency, service, error))

    def take(self) -> Batch:
        """What there is to tell since the last time."""
        (then, spent), self._last = self._last, (time.monotonic(), time.process_time())
        now, spent_now = self._last
        samples, self._samples = self._samples, []
        until = min([now, *self._pending.values()])
        busy = (spent_now - spent) / max(now - then, 1e-3)
        return Batch(samples, now + self._to_wall, until + self._to_wall, len(self._pending), busy)

"""What an operator can watch: the table of metrics, and who fills them. Knows nothing of Triton; its shell carries the numbers to /metrics.

Names follow Prometheus: base units (seconds, bytes), `_total` for counters. The table in docker/operations.md says the same (a test).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Literal

from masklet.errors import MaskletError, ServerFault
from masklet_bank.arrays import Copied
from masklet_bank.bank import Result
from masklet_bank.stages import Stopwatch
from masklet_bank.videos import Capacity, Videos


@dataclass(frozen=True)
class Metric:
    """One metric.

    label     name of its only label; "" for none
    values    every value that the label can have, so that each series is there, at 0, before anything happens: rates need that; none: not known here
    buckets   upper bounds of a histogram, inclusive
    """

    name: str
    kind: Literal["COUNTER", "GAUGE", "HISTOGRAM"]
    help: str
    label: str = ""
    values: tuple[str, ...] = ("",)
    buckets: tuple[float, ...] = ()


def _codes(kind: type[MaskletError]) -> tuple[str, ...]:
    """Codes of an error and of all that derive from it."""
    return (kind.code, *(code for derived in kind.__subclasses__() for code in _codes(derived)))


_ENGINES = ("mask_prompt", "memory_attention", "mask_decoder", "memory_encoder")
_OWN = "memory_bank"
_COUNTS = (1.0, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0, 16.0, 24.0, 32.0, 64.0)
_SURE = 0.5  # predicted IoU; what a lower one tells: benchmarks/results/doubt.md
_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)

VIDEOS = Metric("masklet_videos", "GAUGE", "Live videos")
VIDEOS_LIMIT = Metric("masklet_videos_limit", "GAUGE", "Live videos that this server takes at most")
DRAINING = Metric("masklet_draining", "GAUGE", "1 while this server takes no new videos because it will stop, else 0")
DRAIN_FILE = Metric("masklet_drain_file_info", "GAUGE", "1; the file that tells this server to drain, which `masklet drain` makes", "file", ())
OBJECTS = Metric("masklet_objects", "GAUGE", "Objects of all live videos")
BANK_BYTES = Metric("masklet_bank_bytes", "GAUGE", "Bytes of all memories")
BANK_RESERVED = Metric("masklet_bank_reserved_bytes", "GAUGE", "Bytes that the live objects hold or will grow to; what admission goes by")
OBJECT_BYTES = Metric("masklet_object_bytes", "GAUGE", "Bytes that an object grows to; a video begins where so many can still be reserved")
BANK_LIMIT = Metric("masklet_bank_limit_bytes", "GAUGE", "Bytes that may be reserved at most")
SHM = Metric("masklet_shm_bytes", "GAUGE", "Size of /dev/shm, through which frames, tensors and answers pass between Triton and its python models")
SHM_FREE = Metric(
    "masklet_shm_free_bytes", "GAUGE", "Bytes of /dev/shm that are free; a request that finds too few fails with all that share its batch"
)
STARTED = Metric("masklet_videos_started_total", "COUNTER", "Videos begun, restored ones included")
ENDED = Metric(
    "masklet_videos_ended_total",
    "COUNTER",
    "Videos forgotten: at END, after silence, or for a START of the same id",
    "how",
    ("end", "expired", "replaced"),
)
FRAMES = Metric("masklet_frames_total", "COUNTER", "Frames answered")
OBJECT_FRAMES = Metric(
    "masklet_object_frames_total",
    "COUNTER",
    "Masks answered, by what the model says of them: the object is away (its score), its predicted IoU is below 0.5, or neither",
    "seen",
    ("sure", "unsure", "away"),
)
REFUSALS = Metric("masklet_refusals_total", "COUNTER", "Requests answered with an error, by its code", "code", _codes(MaskletError))
FAULTS = Metric("masklet_faults_in_a_row", "GAUGE", "Requests answered with SERVER_FAULT since the last frame that was answered")
COPIED = Metric(
    "masklet_bank_copied_bytes_total", "COUNTER", "Bytes copied between host and GPU, for frames and snapshots", "direction", ("to_device", "to_host")
)
EVICTIONS = Metric("masklet_conditioning_evictions_total", "COUNTER", "Prompted frames that became ordinary ones, because an object had too many")
INTEGRITY = Metric(
    "masklet_integrity_errors_total", "COUNTER", "Mistakes that the bank found in what it holds, each said in the log; it looks between requests"
)
FRAME_SECONDS = Metric("masklet_frame_seconds", "HISTOGRAM", "From a frame's arrival at preprocess to its answer by the bank", buckets=_SECONDS)
BATCH = Metric("masklet_batch_requests", "HISTOGRAM", "Requests in an execution of the bank", buckets=_COUNTS)
STAGE_SECONDS = Metric(
    "masklet_stage_seconds", "HISTOGRAM", "Time of an execution in each engine, and in the bank itself", "stage", (*_ENGINES, _OWN), _SECONDS
)
ENGINE_CALLS = Metric(
    "masklet_engine_calls", "HISTOGRAM", "Calls of an engine in an execution that needed it: groups of equal shape", "engine", _ENGINES, _COUNTS
)
ENGINE_BATCH = Metric("masklet_engine_batch_objects", "HISTOGRAM", "Objects in a call of an engine", "engine", _ENGINES, _COUNTS)

TABLE = (
    *(VIDEOS, VIDEOS_LIMIT, DRAINING, DRAIN_FILE, OBJECTS, BANK_BYTES, BANK_RESERVED, BANK_LIMIT, OBJECT_BYTES),
    *(SHM, SHM_FREE),
    *(STARTED, ENDED, FRAMES, OBJECT_FRAMES, REFUSALS, FAULTS, EVICTIONS, COPIED, INTEGRITY),
    *(FRAME_SECONDS, BATCH, STAGE_SECONDS, ENGINE_CALLS, ENGINE_BATCH),
)


class Meters:
    """Where the numbers go; this one: nowhere. Only metrics of TABLE; `label` is one of its values, if it has any. Must not raise, or take long."""

    def increment(self, metric: Metric, by: int, label: str = "") -> None:
        """Adds to a counter."""

    def set(self, metric: Metric, value: int, label: str = "") -> None:
        """Sets a gauge."""

    def observe(self, metric: Metric, value: float, label: str = "") -> None:
        """Adds one value to a histogram."""

    def close(self) -> None:
        """No number comes after this."""


class Observer:
    """Is told what happens in the memory bank, and meters it."""

    def __init__(self, meters: Meters, capacity: Capacity, drain_file: str) -> None:
        self._meters = meters
        self._shown: dict[str, int] = {}
        self._copied = Copied()
        self._faults = 0
        self._set(VIDEOS_LIMIT, capacity.max_videos)
        self._set(BANK_LIMIT, capacity.max_bytes)
        self._set(OBJECT_BYTES, capacity.object_bytes(1))
        self.draining(False)
        if drain_file:
            meters.set(DRAIN_FILE, 1, drain_file)

    def started(self) -> None:
        """A video began."""
        self._meters.increment(STARTED, 1)

    def ended(self, how: Literal["end", "expired", "replaced"]) -> None:
        """A video was forgotten."""
        self._meters.increment(ENDED, 1, how)

    def draining(self, asked: bool) -> None:
        """Whether the server was asked to drain."""
        self._set(DRAINING, int(asked))

    def shared_memory(self, size: int, free: int) -> None:
        """Bytes of /dev/shm: all, and those that are free."""
        self._set(SHM, size)
        self._set(SHM_FREE, free)

    def evicted(self, frames: int) -> None:
        """So many prompted frames became ordinary ones."""
        if frames:
            self._meters.increment(EVICTIONS, frames)

    def broken(self, problems: int) -> None:
        """So many mistakes were found in what the bank holds."""
        if problems:
            self._meters.increment(INTEGRITY, problems)

    def answered(self, seconds: float) -> None:
        """A frame got its answer, so many seconds after it arrived."""
        self._faults = 0
        self._meters.increment(FRAMES, 1)
        self._meters.observe(FRAME_SECONDS, seconds)

    def tracked(self, results: Iterable[Result]) -> None:
        """These are in an answer."""
        for seen, count in Counter("away" if one.score <= 0 else "sure" if one.iou >= _SURE else "unsure" for one in results).items():
            self._meters.increment(OBJECT_FRAMES, count, seen)

    def refused(self, error: MaskletError, requests: int = 1) -> None:
        """Requests were answered with an error."""
        self._faults += requests if isinstance(error, ServerFault) else 0
        self._meters.increment(REFUSALS, requests, error.code)

    def executed(self, requests: int, watch: Stopwatch, own_seconds: float) -> None:
        """An execution is done: how many requests it had, what the engines did, and the time that was not theirs."""
        self._meters.observe(BATCH, requests)
        self._meters.observe(STAGE_SECONDS, own_seconds, _OWN)
        for engine, seconds in watch.seconds.items():
            self._meters.observe(STAGE_SECONDS, seconds, engine)
        for engine, sizes in watch.sizes.items():
            self._meters.observe(ENGINE_CALLS, len(sizes), engine)
            for size in sizes:
                self._meters.observe(ENGINE_BATCH, size, engine)

    def copied(self, copied: Copied) -> None:
        """So much was copied since the bank began."""
        for direction in COPIED.values:
            added = getattr(copied, direction) - getattr(self._copied, direction)
            if added:
                self._meters.increment(COPIED, added, direction)
        self._copied = replace(copied)

    def holds(self, videos: Videos) -> None:
        """What is held now."""
        held = videos.ledger.held
        self._set(VIDEOS, len(videos))
        self._set(OBJECTS, held.objects)
        self._set(BANK_BYTES, held.nbytes)
        self._set(BANK_RESERVED, held.reserved)
        self._set(FAULTS, self._faults)

    def _set(self, metric: Metric, value: int) -> None:
        """Gauges rarely change from one frame to the next, and each change is a message to another process."""
        if self._shown.get(metric.name) != value:
            self._shown[metric.name] = value
            self._meters.set(metric, value)

"""The heart: one frame of many objects, of one video or of several.

    read bank -> memory_attention -> mask_decoder -> memory_encoder -> write bank

Objects go through an engine together only where their tensors have equal shapes: memory or prompts are never padded, since padding changes masks.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TypeVar

from masklet_bank.arrays import Array
from masklet_bank.bank import Result
from masklet_bank.calls import Decoded, Engines, Failure, ToDecode, ToEncode, attend, decode, encode, prepare_masks
from masklet_bank.job import Job
from masklet_bank.stages import EngineError

_log = logging.getLogger("masklet")
T = TypeVar("T")
R = TypeVar("R")


def step(jobs: Sequence[Job], engines: Engines) -> list[Result | Failure]:
    """What became of each job. One that fails takes no other with it."""
    run = _Run(engines)
    numbered = dict(enumerate(jobs))
    masks = run.through(prepare_masks, {n: job for n, job in numbered.items() if job.mask is not None}, lambda job: None)
    attended = run.through(attend, {n: job for n, job in numbered.items() if job.reading is not None}, _reads)
    undecoded = {n: ToDecode(job, attended.get(n), masks.get(n)) for n, job in numbered.items() if job.made is None}
    decoded = run.through(decode, undecoded, lambda item: item.job.tokens)
    decoded |= {n: Decoded(job.made.low, job.made.pointer, job.made.score, job.made.iou) for n, job in numbered.items() if job.made is not None}
    rivals = _rivals(numbered, decoded)
    unencoded = {n: ToEncode(job, attended.get(n), decoded[n], rivals.get(n, [])) for n, job in numbered.items() if n in decoded}
    results = run.through(encode, unencoded, lambda item: max(1, len(item.rivals)))
    return [results[n] if n in results else run.failed[n] for n in numbered]


def _reads(job: Job) -> tuple[int, int]:
    assert job.reading is not None
    return len(job.reading.memories), len(job.reading.pointers)


def _rivals(jobs: Mapping[int, Job], decoded: Mapping[int, Decoded]) -> dict[int, list[Array]]:
    """The logits of the masks that those of a job must not overlap with, of exclusive jobs by number."""
    frames: dict[int, list[int]] = {}
    for n, job in jobs.items():
        if job.exclusive and n in decoded:
            frames.setdefault(id(job.features), []).append(n)
    return {own: [decoded[n].low for n in frame if n != own] for frame in frames.values() for own in frame}


Stage = Callable[[Engines, list[T]], Sequence[R | Failure]]


class _Run:
    """Jobs, by number, on their way through the engines. failed: those that fell out."""

    def __init__(self, engines: Engines) -> None:
        self.failed: dict[int, Failure] = {}
        self._engines = engines

    def through(self, stage: Stage[T, R], items: Mapping[int, T], shape: Callable[[T], object]) -> dict[int, R]:
        """What a stage makes of its items, in groups of equal shape; a group that fails, however, is tried again item by item."""
        made: dict[int, R] = {}
        for group in _groups({n: item for n, item in items.items() if n not in self.failed}, shape, self._engines.limit):
            try:
                outcomes = stage(self._engines, [*group.values()])
            except Exception:
                outcomes = [self._alone(stage, item) for item in group.values()]
            for n, outcome in zip(group, outcomes, strict=True):
                if isinstance(outcome, Failure):
                    self.failed[n] = outcome
                else:
                    made[n] = outcome
        return made

    def _alone(self, stage: Stage[T, R], item: T) -> R | Failure:
        try:
            return stage(self._engines, [item])[0]
        except Exception as error:
            _log.exception("an object failed in the memory bank")
            return Failure(str(error) if isinstance(error, EngineError) else f"{type(error).__name__}: {error}")


def _groups(items: Mapping[int, T], shape: Callable[[T], object], limit: int) -> Iterator[dict[int, T]]:
    """At most `limit` items of equal shape, the groups and the items of each in the order of the items."""
    by_shape: dict[object, list[int]] = {}
    for n, item in items.items():
        by_shape.setdefault(shape(item), []).append(n)
    for numbers in by_shape.values():
        for start in range(0, len(numbers), limit):
            yield {n: items[n] for n in numbers[start : start + limit]}

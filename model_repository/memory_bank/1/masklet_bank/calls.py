"""One call of each engine for a group of jobs of equal shape: values in, the tensors of `masklet.contract` there and back, values out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import isfinite
from typing import NamedTuple

import numpy as np

from masklet.families import Variant
from masklet_bank.arrays import HOST, Array, Arrays
from masklet_bank.bank import Result
from masklet_bank.cleaning import Cleaner
from masklet_bank.job import Job
from masklet_bank.stages import Stages, Stopwatch

_PAD_LABEL = -1


class Failure(NamedTuple):
    """Why a job has no result."""

    reason: str


class PreparedMask(NamedTuple):
    """What mask_prompt made of a user's mask: MASK_PROMPT, its logits [L, L], and whether it has a pixel."""

    prompt: Array
    low: Array
    present: int


class ToDecode(NamedTuple):
    """`attended`: what memory attention made of the frame's features, None without memory."""

    job: Job
    attended: Array | None
    mask: PreparedMask | None


class Decoded(NamedTuple):
    """A `Result` without its memory."""

    low: Array
    pointer: Array
    score: float
    iou: float


class ToEncode(NamedTuple):
    """`rivals`: logits [L, L] of other objects, of whose pixels the memory has only those that this object is surer of."""

    job: Job
    attended: Array | None
    decoded: Decoded
    rivals: Sequence[Array]


@dataclass
class Engines:
    """The engines of one variant, how many objects one call takes, the time spent in each, and where arrays live. `clean`: what cleans masks, if
    anything does."""

    variant: Variant
    stages: Stages
    limit: int
    arrays: Arrays = HOST
    watch: Stopwatch = field(default_factory=Stopwatch)
    clean: Cleaner | None = None

    def call(self, engine: str, objects: int, inputs: Mapping[str, np.ndarray | Array]) -> Mapping[str, np.ndarray | Array]:
        """Runs one engine. Raises EngineError."""
        with self.watch.measure(engine, objects):
            return self.stages.call(engine, self.arrays.send(inputs))

    def cleaned(self, low: Array, job: Job, *, encoded: bool) -> Array:
        """A mask's logits, cleaned if this is the moment for it: `encoded`, once the memory of the frame is made, or before."""
        if self.clean is None:
            return low
        rule = self.clean.rule
        due = rule.prompted and not encoded if job.prompted else rule.remembered != encoded
        return self.clean(low) if due else low


def prepare_masks(engines: Engines, jobs: Sequence[Job]) -> list[PreparedMask]:
    """mask_prompt, for users' masks. Where masks are soft their logits came with them."""
    arrays = engines.arrays
    out = engines.call("mask_prompt", len(jobs), {"MASK": arrays.stack([arrays.put(job.mask) for job in jobs])})
    prompts, present = arrays.put(out["MASK_PROMPT"]), arrays.get(out["PRESENT"])
    lows = arrays.put(out["LOW"]) if "LOW" in out else None
    return [
        PreparedMask(arrays.own(prompts[row]), arrays.put(job.mask_low) if lows is None else arrays.own(lows[row]), int(present[row]))
        for row, job in enumerate(jobs)
    ]


def attend(engines: Engines, jobs: Sequence[Job]) -> list[Array]:
    """memory_attention: the frame's features, conditioned by what the object remembers."""
    readings = [job.reading for job in jobs if job.reading is not None]
    pointers = len(readings[0].pointers)
    arrays = engines.arrays
    inputs = {
        **_by_video(engines, jobs, ["EMBEDDING"]),
        "MEMORY": arrays.widen([reading.memories for reading in readings]),
        "SLOT": _ints([reading.slots for reading in readings]),
        "POINTERS": arrays.stack([pointer for reading in readings for pointer in reading.pointers]).reshape(len(jobs), pointers, -1),
    }
    if engines.variant.family.pointer_time:
        inputs["DISTANCE"] = np.array([reading.distances for reading in readings], np.float32).reshape(len(jobs), pointers)
    conditioned = arrays.put(engines.call("memory_attention", len(jobs), inputs)["CONDITIONED"])
    return [arrays.own(conditioned[row]) for row in range(len(jobs))]


def decode(engines: Engines, items: Sequence[ToDecode]) -> list[Decoded]:
    """mask_decoder. A mask prompt keeps the logits that were made of it. All that is cleaned before its memory is made is."""
    jobs, arrays = [item.job for item in items], engines.arrays
    tokens = [_tokens(job) for job in jobs]
    inputs = {
        "FEATURES": arrays.stack([item.job.features["EMBEDDING"] if item.attended is None else item.attended for item in items]),
        "KIND": _ints([job.kind for job in jobs]),
        "POINTS": np.stack([points for points, _ in tokens]),
        "LABELS": np.stack([labels for _, labels in tokens]),
        **_mask_prompts(engines, items),
        "MULTIMASK": _ints([_multimask(engines.variant, job) for job in jobs]),
        "PRESENT": _ints([1 if item.mask is None else item.mask.present for item in items]),
    }
    if engines.variant.high_res:
        inputs.update(_by_video(engines, jobs, [f"HIGH_RES_{level}" for level in range(len(engines.variant.high_res))]))
    out = engines.call("mask_decoder", len(jobs), inputs)
    lows, pointers = arrays.put(out["LOW"]), arrays.put(out["POINTER"])
    scores, ious = arrays.get(out["SCORE"]), arrays.get(out["IOU"])
    own = [arrays.own(lows[row]) if item.mask is None else item.mask.low for row, item in enumerate(items)]
    return [
        Decoded(engines.cleaned(low, item.job, encoded=False), arrays.own(pointers[row]), float(scores[row]), float(ious[row]))
        for row, (item, low) in enumerate(zip(items, own, strict=True))
    ]


def encode(engines: Engines, items: Sequence[ToEncode]) -> list[Result | Failure]:
    """memory_encoder: the memory of the frame. A value that is not finite fails its job: later frames would be spoilt by it."""
    family, arrays = engines.variant.family, engines.arrays
    lows = arrays.stack([item.decoded.low for item in items])
    inputs = {
        **_by_video(engines, [item.job for item in items], ["EMBEDDING"]),
        "LOW": lows,
        "BINARISE": _ints([item.job.prompted and family.binarise_prompts for item in items]),
    }
    if family.occlusion_embedding:
        inputs["SCORE"] = np.array([item.decoded.score for item in items], np.float32)
    if family.exclusive_prompts:  # without rivals, a map that takes no pixel
        side = engines.variant.low_size
        inputs["RIVALS"] = arrays.stack([arrays.fill(item.rivals or [None], (side, side), family.no_object_score) for item in items])
    memories = arrays.put(engines.call("memory_encoder", len(items), inputs)["MEMORY"])
    finite = arrays.finite(memories, lows, arrays.stack([item.decoded.pointer for item in items]))
    return [
        Result(engines.cleaned(made.low, job, encoded=True), bits, made.pointer, made.score, made.iou)
        if fine and isfinite(made.score) and isfinite(made.iou)
        else Failure(f"the engines gave values that are not finite: {', '.join(_spoilt(arrays, job, attended, made, memories[row]))}")
        for row, ((job, attended, made, _), fine, bits) in enumerate(zip(items, finite, arrays.round(memories), strict=True))
    ]


def _by_video(engines: Engines, jobs: Sequence[Job], names: Sequence[str]) -> dict[str, np.ndarray | Array]:
    """Features once per video, [V, ...], and VIDEO [B], the row of each job."""
    frames = list({id(job.features): job.features for job in jobs}.values())
    rows = {id(features): row for row, features in enumerate(frames)}
    inputs = {name: engines.arrays.stack([features[name] for features in frames]) for name in names}
    return {**inputs, "VIDEO": _ints([rows[id(job.features)] for job in jobs])}


def _ints(values: Sequence[object]) -> np.ndarray:
    return np.array(values, np.int32)


def _tokens(job: Job) -> tuple[np.ndarray, np.ndarray]:
    """POINTS [N, 2] and LABELS [N] of one job, padding included."""
    pads = job.tokens - len(job.labels)
    points = np.concatenate([job.points, np.zeros((pads, 2), np.float32)])
    labels = np.concatenate([job.labels, np.full(pads, _PAD_LABEL, np.int32)])
    return points.astype(np.float32, copy=False), labels.astype(np.int32, copy=False)


def _mask_prompts(engines: Engines, items: Sequence[ToDecode]) -> dict[str, np.ndarray | Array]:
    """MASK_PROMPT and HAS_MASK: the user's mask, or the bounded logits of the answer that is corrected."""
    low, limit = engines.variant.low_size, engines.variant.family.previous_logits_limit
    given: list[Array | None] = [None if item.mask is None else item.mask.prompt for item in items]
    for row, (job, _, mask) in enumerate(items):
        if mask is None and job.previous is not None:
            given[row] = engines.arrays.clip(job.previous, limit)
    return {"MASK_PROMPT": engines.arrays.fill(given, (1, low, low), 0), "HAS_MASK": _ints([array is not None for array in given])}


def _multimask(variant: Variant, job: Job) -> bool:
    """Whether the best of three masks is wanted (efficienttam_base.py:883-891): few points, and never beside a mask prompt."""
    family = variant.family
    return job.mask is None and family.multimask_min_points <= len(job.labels) <= family.multimask_max_points


def _spoilt(arrays: Arrays, job: Job, attended: Array | None, made: Decoded, memory: Array) -> list[str]:
    """The tensors of one job that are not finite, in the order in which they were made, so that the first names the engine at fault."""
    before = {"EMBEDDING": job.features["EMBEDDING"], "CONDITIONED": attended, "LOW": made.low, "POINTER": made.pointer}
    spoilt = [name for name, array in before.items() if array is not None and not arrays.finite(array[None])[0]]
    spoilt += [name for name, value in (("SCORE", made.score), ("IOU", made.iou)) if not isfinite(value)]
    return spoilt + ["MEMORY"] * (not arrays.finite(memory[None])[0])

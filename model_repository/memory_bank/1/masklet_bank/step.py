"""The heart: one frame of many objects, of one video or of several.

    read bank -> memory_attention -> mask_decoder -> memory_encoder -> write bank

Objects go through an engine together only where their tensors have equal shapes: memory or prompts are never padded, since padding changes masks.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from math import isfinite

import numpy as np

from masklet.contract import KIND_CLICK, KIND_MASK, KIND_TRACKED
from masklet.families import Variant
from masklet_bank.arrays import HOST, Array, Arrays
from masklet_bank.bank import Reading, Result
from masklet_bank.stages import EngineError, Stages, Stopwatch, groups

_log = logging.getLogger("masklet")

# Every prompt ends with one padding token; without points there are two (efficienttam_base.py:313-320, modeling/sam/prompt_encoder.py:87-91).
_PAD_LABEL = -1


@dataclass(frozen=True)
class Frame:
    """The features of one video's frame: `features` maps EMBEDDING (and HIGH_RES_*) to an array without leading dimension."""

    features: dict[str, Array]


@dataclass
class Job:
    """One object on one frame: what to compute, and what came out.

    frame            features of the object's video
    reading          what memory attention gets; None: the frame is prompted without memory
    points, labels   [n, 2] float32 model pixels and [n] int32; empty when tracking or for a mask prompt
    mask             [M, M] mask prompt, uint8 or, where masks are soft, float32; or None
    low              [L, L] float32 logits: those of a soft mask prompt from the start, on the host; else what an engine gives
    previous         [L, L] float32 logits of the answer that this prompt corrects, or None
    again            only the memory is made, of logits, pointer and scores that were answered before
    rivals           jobs on the same frame whose masks this one's must not overlap in its memory
    result, error    one of them is set by `step`
    """

    frame: Frame
    reading: Reading | None
    points: np.ndarray
    labels: np.ndarray
    mask: np.ndarray | None = None
    previous: Array | None = None
    again: bool = False
    rivals: Sequence[Job] = ()
    result: Result | None = None
    error: str | None = None
    # between the engines
    features: Array | None = None
    mask_prompt: Array | None = None
    present: int = 1
    low: Array | None = None
    pointer: Array | None = None
    score: float = 0.0
    iou: float = 0.0

    @property
    def prompted(self) -> bool:
        """Whether a user prompted this object on this frame."""
        return self.again or self.mask is not None or len(self.labels) > 0

    @property
    def kind(self) -> int:
        """KIND of the mask decoder."""
        if self.mask is not None:
            return KIND_MASK
        return KIND_TRACKED if self.reading is not None else KIND_CLICK

    @property
    def tokens(self) -> int:
        """Prompt tokens of the mask decoder, padding included."""
        return max(len(self.labels), 1) + 1


@dataclass
class Engines:
    """The engines of one variant, how many objects one call takes, the time spent in each, and where arrays live."""

    variant: Variant
    stages: Stages
    limit: int
    arrays: Arrays = HOST
    watch: Stopwatch = field(default_factory=Stopwatch)


def step(jobs: Sequence[Job], engines: Engines) -> None:
    """Runs the jobs: sets `result`, or `error` where an engine failed. A job that fails takes no other with it."""
    _run(engines, [job for job in jobs if job.mask is not None], lambda job: None, _prepare_mask)
    _run(engines, [job for job in jobs if job.reading is not None], lambda job: _sizes(job.reading), _attend)
    _run(engines, [job for job in jobs if not job.again], lambda job: job.tokens, _decode)
    _run(engines, jobs, lambda job: max(1, len(job.rivals)), _encode)


def _sizes(reading: Reading | None) -> tuple[int, int]:
    assert reading is not None
    return len(reading.memories), len(reading.pointers)


def _run(engines: Engines, jobs: Sequence[Job], key: Callable[[Job], object], stage: Callable[[Engines, list[Job]], None]) -> None:
    """Runs one stage in groups of equal shape; a group that fails, however, is tried again job by job."""
    for group in groups([job for job in jobs if job.error is None], key, engines.limit):
        try:
            stage(engines, group)
        except Exception:
            for job in group:
                try:
                    stage(engines, [job])
                except Exception as error:
                    job.error = str(error) if isinstance(error, EngineError) else f"{type(error).__name__}: {error}"
                    _log.exception("an object failed in the memory bank")


def _call(engines: Engines, engine: str, jobs: list[Job], inputs: dict[str, np.ndarray | Array]) -> Mapping[str, np.ndarray | Array]:
    with engines.watch.measure(engine, len(jobs)):
        return engines.stages.call(engine, engines.arrays.send(inputs))


def _by_video(engines: Engines, jobs: list[Job], names: Sequence[str]) -> dict[str, np.ndarray | Array]:
    """Features once per video, [V, ...], and VIDEO [B], the row of each job."""
    frames = list({id(job.frame): job.frame for job in jobs}.values())
    rows = {id(frame): row for row, frame in enumerate(frames)}
    inputs = {name: engines.arrays.stack([frame.features[name] for frame in frames]) for name in names}
    return {**inputs, "VIDEO": np.array([rows[id(job.frame)] for job in jobs], np.int32)}


def _ints(values: Sequence[int]) -> np.ndarray:
    return np.array(values, np.int32)


def _prepare_mask(engines: Engines, jobs: list[Job]) -> None:
    arrays = engines.arrays
    out = _call(engines, "mask_prompt", jobs, {"MASK": arrays.stack([arrays.put(job.mask) for job in jobs if job.mask is not None])})
    prompts, present = arrays.put(out["MASK_PROMPT"]), arrays.get(out["PRESENT"])
    lows = arrays.put(out["LOW"]) if "LOW" in out else None
    for row, job in enumerate(jobs):
        job.mask_prompt = arrays.own(prompts[row])
        if lows is not None:
            job.low = arrays.own(lows[row])
        elif job.low is not None:
            job.low = arrays.put(job.low)
        job.present = int(present[row])


def _attend(engines: Engines, jobs: list[Job]) -> None:
    readings = [job.reading for job in jobs if job.reading is not None]
    _, pointers = _sizes(readings[0])
    arrays = engines.arrays
    inputs = {
        **_by_video(engines, jobs, ["EMBEDDING"]),
        "MEMORY": arrays.widen([reading.memories for reading in readings]),
        "SLOT": _ints([reading.slots for reading in readings]),
        "POINTERS": arrays.stack([pointer for reading in readings for pointer in reading.pointers]).reshape(len(jobs), pointers, -1),
    }
    if engines.variant.family.pointer_time:
        inputs["DISTANCE"] = np.array([reading.distances for reading in readings], np.float32).reshape(len(jobs), pointers)
    conditioned = arrays.put(_call(engines, "memory_attention", jobs, inputs)["CONDITIONED"])
    for row, job in enumerate(jobs):
        job.features = arrays.own(conditioned[row])


def _decode(engines: Engines, jobs: list[Job]) -> None:
    tokens = [_tokens(job) for job in jobs]
    arrays = engines.arrays
    inputs = {
        "FEATURES": arrays.stack([job.frame.features["EMBEDDING"] if job.features is None else job.features for job in jobs]),
        "KIND": _ints([job.kind for job in jobs]),
        "POINTS": np.stack([points for points, _ in tokens]),
        "LABELS": np.stack([labels for _, labels in tokens]),
        **_mask_prompts(engines, jobs),
        "MULTIMASK": _ints([_multimask(engines.variant, job) for job in jobs]),
        "PRESENT": _ints([job.present for job in jobs]),
    }
    if engines.variant.high_res:
        inputs.update(_by_video(engines, jobs, [f"HIGH_RES_{level}" for level in range(len(engines.variant.high_res))]))
    out = _call(engines, "mask_decoder", jobs, inputs)
    lows, pointers = arrays.put(out["LOW"]), arrays.put(out["POINTER"])
    scores, ious = arrays.get(out["SCORE"]), arrays.get(out["IOU"])
    for row, job in enumerate(jobs):
        if job.mask is None:  # a mask prompt keeps the logits that were made of it
            job.low = arrays.own(lows[row])
        job.pointer = arrays.own(pointers[row])
        job.score, job.iou = float(scores[row]), float(ious[row])


def _tokens(job: Job) -> tuple[np.ndarray, np.ndarray]:
    """POINTS [N, 2] and LABELS [N] of one job, padding included."""
    pads = job.tokens - len(job.labels)
    points = np.concatenate([job.points, np.zeros((pads, 2), np.float32)])
    labels = np.concatenate([job.labels, np.full(pads, _PAD_LABEL, np.int32)])
    return points.astype(np.float32, copy=False), labels.astype(np.int32, copy=False)


def _mask_prompts(engines: Engines, jobs: list[Job]) -> dict[str, np.ndarray | Array]:
    """MASK_PROMPT and HAS_MASK: the user's mask, or the bounded logits of the answer that is corrected."""
    low, limit = engines.variant.low_size, engines.variant.family.previous_logits_limit
    given = [job.mask_prompt if job.previous is None else engines.arrays.clip(job.previous, limit) for job in jobs]
    return {"MASK_PROMPT": engines.arrays.fill(given, (1, low, low), 0), "HAS_MASK": _ints([array is not None for array in given])}


def _multimask(variant: Variant, job: Job) -> bool:
    """Whether the best of three masks is wanted (efficienttam_base.py:883-891): few points, and never beside a mask prompt."""
    family = variant.family
    return job.mask is None and family.multimask_min_points <= len(job.labels) <= family.multimask_max_points


def _encode(engines: Engines, jobs: list[Job]) -> None:
    family, arrays = engines.variant.family, engines.arrays
    inputs = {
        **_by_video(engines, jobs, ["EMBEDDING"]),
        "LOW": arrays.stack([job.low for job in jobs if job.low is not None]),
        "BINARISE": _ints([job.prompted and family.binarise_prompts for job in jobs]),
    }
    if family.occlusion_embedding:
        inputs["SCORE"] = np.array([job.score for job in jobs], np.float32)
    if family.exclusive_prompts:
        inputs["RIVALS"] = arrays.stack([_rivals(engines, job) for job in jobs])
    memory = arrays.put(_call(engines, "memory_encoder", jobs, inputs)["MEMORY"])
    # What is kept is read by later frames: one value that is no number would spoil all of them.
    kept = (memory, inputs["LOW"], arrays.stack([job.pointer for job in jobs if job.pointer is not None]))
    for row, (job, finite, bits) in enumerate(zip(jobs, arrays.finite(*kept), arrays.round(memory), strict=True)):
        assert job.low is not None
        assert job.pointer is not None
        if not (finite and isfinite(job.score) and isfinite(job.iou)):
            job.error = f"the engines gave values that are not finite: {', '.join(_spoilt(engines, job, memory[row]))}"
            continue
        job.result = Result(low=job.low, memory=bits, pointer=job.pointer, score=job.score, iou=job.iou)


def _spoilt(engines: Engines, job: Job, memory: Array) -> list[str]:
    """The tensors of one job that are not finite, in the order in which they were made, so that the first names the engine at fault."""
    made = {"EMBEDDING": job.frame.features["EMBEDDING"], "CONDITIONED": job.features, "LOW": job.low, "POINTER": job.pointer, "MEMORY": memory}
    finite = {name: engines.arrays.finite(array[None])[0] for name, array in made.items() if array is not None}
    finite |= {"SCORE": isfinite(job.score), "IOU": isfinite(job.iou)}
    return [name for name in ("EMBEDDING", "CONDITIONED", "LOW", "POINTER", "SCORE", "IOU", "MEMORY") if not finite.get(name, True)]


def _rivals(engines: Engines, job: Job) -> Array:
    """RIVALS [R, L, L] of one job; without any, a map that takes no pixel."""
    low = engines.variant.low_size
    lows = [rival.low for rival in job.rivals if rival.low is not None]
    return engines.arrays.fill(lows or [None], (low, low), engines.variant.family.no_object_score)

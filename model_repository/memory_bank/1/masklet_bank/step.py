"""The heart: one frame of many objects, of one video or of several.

    read bank -> memory_attention -> mask_decoder -> memory_encoder -> write bank

Objects go through an engine together only where their tensors have equal shapes: memory or prompts are never padded, since padding changes masks.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from masklet.contract import KIND_CLICK, KIND_MASK, KIND_TRACKED
from masklet.families import Variant
from masklet_bank import bfloat16
from masklet_bank.bank import Reading, Result
from masklet_bank.stages import EngineError, Stages, Stopwatch, groups

# Every prompt ends with one padding token; without points there are two (efficienttam_base.py:313-320, modeling/sam/prompt_encoder.py:87-91).
_PAD_LABEL = -1


@dataclass(frozen=True)
class Frame:
    """The features of one video's frame: `features` maps EMBEDDING (and HIGH_RES_*) to an array without leading dimension."""

    features: dict[str, np.ndarray]


@dataclass
class Job:
    """One object on one frame: what to compute, and what came out.

    frame            features of the object's video
    reading          what memory attention gets; None: the frame is prompted without memory
    points, labels   [n, 2] float32 model pixels and [n] int32; empty when tracking or for a mask prompt
    mask             [M, M] mask prompt, uint8 or, where masks are soft, float32; or None
    low              [L, L] float32 logits: those of a soft mask prompt from the start, else what an engine gives
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
    previous: np.ndarray | None = None
    again: bool = False
    rivals: Sequence[Job] = ()
    result: Result | None = None
    error: str | None = None
    # between the engines
    features: np.ndarray | None = None
    mask_prompt: np.ndarray | None = None
    present: int = 1
    low: np.ndarray | None = None
    pointer: np.ndarray | None = None
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
    """The engines of one variant, how many objects one call takes, and the time spent in each."""

    variant: Variant
    stages: Stages
    limit: int
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
    """Runs one stage in groups of equal shape; a group that fails is tried again job by job."""
    for group in groups([job for job in jobs if job.error is None], key, engines.limit):
        try:
            stage(engines, group)
        except EngineError:
            for job in group:
                try:
                    stage(engines, [job])
                except EngineError as error:
                    job.error = str(error)


def _call(engines: Engines, engine: str, jobs: list[Job], inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    with engines.watch.measure(engine, len(jobs)):
        return dict(engines.stages.call(engine, inputs))


def _by_video(jobs: list[Job], names: Sequence[str]) -> dict[str, np.ndarray]:
    """Features once per video, [V, ...], and VIDEO [B], the row of each job."""
    frames = list({id(job.frame): job.frame for job in jobs}.values())
    rows = {id(frame): row for row, frame in enumerate(frames)}
    inputs = {name: _stack([frame.features[name] for frame in frames]) for name in names}
    return {**inputs, "VIDEO": np.array([rows[id(job.frame)] for job in jobs], np.int32)}


def _stack(arrays: Sequence[np.ndarray]) -> np.ndarray:
    """np.stack that does not copy a single array."""
    return arrays[0][np.newaxis] if len(arrays) == 1 else np.stack(arrays)


def _ints(values: Sequence[int]) -> np.ndarray:
    return np.array(values, np.int32)


def _prepare_mask(engines: Engines, jobs: list[Job]) -> None:
    out = _call(engines, "mask_prompt", jobs, {"MASK": _stack([job.mask for job in jobs if job.mask is not None])})
    for row, job in enumerate(jobs):
        job.mask_prompt = out["MASK_PROMPT"][row].copy()
        if "LOW" in out:
            job.low = out["LOW"][row].copy()
        job.present = int(out["PRESENT"][row])


def _attend(engines: Engines, jobs: list[Job]) -> None:
    readings = [job.reading for job in jobs if job.reading is not None]
    frames, pointers = _sizes(readings[0])
    memory = np.empty((len(jobs), frames, *readings[0].memories[0].shape), np.float32)
    for row, reading in enumerate(readings):
        for slot, bits in enumerate(reading.memories):
            bfloat16.widen(bits, out=memory[row, slot])
    inputs = {
        **_by_video(jobs, ["EMBEDDING"]),
        "MEMORY": memory,
        "SLOT": _ints([reading.slots for reading in readings]),
        "POINTERS": np.stack([np.stack(reading.pointers) for reading in readings]),
    }
    if engines.variant.family.pointer_time:
        inputs["DISTANCE"] = np.array([reading.distances for reading in readings], np.float32).reshape(len(jobs), pointers)
    conditioned = _call(engines, "memory_attention", jobs, inputs)["CONDITIONED"]
    for row, job in enumerate(jobs):
        job.features = conditioned[row].copy()


def _decode(engines: Engines, jobs: list[Job]) -> None:
    tokens = [_tokens(job) for job in jobs]
    inputs = {
        "FEATURES": _stack([job.frame.features["EMBEDDING"] if job.features is None else job.features for job in jobs]),
        "KIND": _ints([job.kind for job in jobs]),
        "POINTS": np.stack([points for points, _ in tokens]),
        "LABELS": np.stack([labels for _, labels in tokens]),
        **_mask_prompts(engines.variant, jobs),
        "MULTIMASK": _ints([_multimask(engines.variant, job) for job in jobs]),
        "PRESENT": _ints([job.present for job in jobs]),
    }
    if engines.variant.high_res:
        inputs.update(_by_video(jobs, [f"HIGH_RES_{level}" for level in range(len(engines.variant.high_res))]))
    out = _call(engines, "mask_decoder", jobs, inputs)
    for row, job in enumerate(jobs):
        if job.mask is None:  # a mask prompt keeps the logits that were made of it
            job.low = out["LOW"][row].copy()
        job.pointer = out["POINTER"][row].copy()
        job.score, job.iou = float(out["SCORE"][row]), float(out["IOU"][row])


def _tokens(job: Job) -> tuple[np.ndarray, np.ndarray]:
    """POINTS [N, 2] and LABELS [N] of one job, padding included."""
    pads = job.tokens - len(job.labels)
    points = np.concatenate([job.points, np.zeros((pads, 2), np.float32)])
    labels = np.concatenate([job.labels, np.full(pads, _PAD_LABEL, np.int32)])
    return points.astype(np.float32, copy=False), labels.astype(np.int32, copy=False)


def _mask_prompts(variant: Variant, jobs: list[Job]) -> dict[str, np.ndarray]:
    """MASK_PROMPT and HAS_MASK: the user's mask, or the bounded logits of the answer that is corrected."""
    limit = variant.family.previous_logits_limit
    prompts = np.zeros((len(jobs), 1, variant.low_size, variant.low_size), np.float32)
    for row, job in enumerate(jobs):
        if job.mask_prompt is not None:
            prompts[row] = job.mask_prompt
        elif job.previous is not None:
            np.clip(job.previous, -limit, limit, out=prompts[row, 0])
    given = [job.mask_prompt is not None or job.previous is not None for job in jobs]
    return {"MASK_PROMPT": prompts, "HAS_MASK": _ints(given)}


def _multimask(variant: Variant, job: Job) -> bool:
    """Whether the best of three masks is wanted (efficienttam_base.py:883-891): few points, and never beside a mask prompt."""
    family = variant.family
    return job.mask is None and family.multimask_min_points <= len(job.labels) <= family.multimask_max_points


def _encode(engines: Engines, jobs: list[Job]) -> None:
    family = engines.variant.family
    inputs = {
        **_by_video(jobs, ["EMBEDDING"]),
        "LOW": _stack([job.low for job in jobs if job.low is not None]),
        "BINARISE": _ints([job.prompted and family.binarise_prompts for job in jobs]),
    }
    if family.occlusion_embedding:
        inputs["SCORE"] = np.array([job.score for job in jobs], np.float32)
    if family.exclusive_prompts:
        inputs["RIVALS"] = np.stack([_rivals(engines.variant, job) for job in jobs])
    memory = _call(engines, "memory_encoder", jobs, inputs)["MEMORY"]
    for row, job in enumerate(jobs):
        assert job.low is not None
        assert job.pointer is not None
        if not (np.isfinite(job.score) and np.isfinite(memory[row]).all()):
            job.error = "the engines gave values that are not finite"
            continue
        job.result = Result(low=job.low, memory=bfloat16.to_bits(memory[row]), pointer=job.pointer, score=job.score, iou=job.iou)


def _rivals(variant: Variant, job: Job) -> np.ndarray:
    """RIVALS [R, L, L] of one job; without any, a map that takes no pixel."""
    lows = [rival.low for rival in job.rivals if rival.low is not None]
    return np.stack(lows) if lows else np.full((1, variant.low_size, variant.low_size), variant.family.no_object_score, np.float32)

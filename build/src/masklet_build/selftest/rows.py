"""Which rows are kept of a tracked clip: one or two of every kind that an engine treats in its own way."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from masklet.contract import KIND_MASK
from masklet.families import Variant
from masklet_build.selftest.fixtures import Row
from masklet_build.selftest.recorder import Recorder, Seen
from masklet_build.selftest.scenario import CLICKS
from masklet_build.tensorrt.profiles import Limits, Profile, profiles

_EACH = 2  # rows of a kind, so that a batch holds different ones
_THRESHOLDED = 100.0  # logits beyond are as good as infinite to a mask


def attention_rows(recorder: Recorder, variant: Variant) -> Iterator[Row]:
    """Memories and pointers in the least, the tuned and the largest numbers of every profile: of two objects on two frames, and, where most calls
    are, of a third one on the same frame, so that a batch of one video has different rows, too.

    Contents are those of the last frame; where a short clip has too few, they come again under the place in time that a long one would give them.
    """
    table = profiles(variant, Limits.of(variant))["memory_attention"]
    sources = recorder.of("memory_attention")[-_EACH - 1 :]
    for index, profile in enumerate(table):
        for memories, pointers in dict.fromkeys(zip(profile.sizes["F"], profile.sizes["P"], strict=True)):
            if any(_reads(earlier, memories, pointers) for earlier in table[:index]):
                continue
            many = memories == variant.family.num_memories
            for place, source in enumerate(sources[: _EACH + many]):
                yield Row("memory_attention", 1 - place % _EACH, _reading(source, memories, pointers, variant.family.num_memories))


def _reads(profile: Profile, memories: int, pointers: int) -> bool:
    """Whether these numbers are an end or the middle of a profile, so that there are rows of them already."""
    return (memories, pointers) in zip(profile.sizes["F"], profile.sizes["P"], strict=True)


def _reading(source: Seen, frames: int, pointers: int, most: int) -> dict[str, np.ndarray]:
    """Inputs with so many memories and pointers: one of a prompted frame, or what is above `most` - 1, the others of the frames before, as
    masklet_bank.policies has them read."""
    memory, pointer = source.inputs["MEMORY"], source.inputs["POINTERS"]
    prompted = max(1, frames - (most - 1))
    rank = np.arange(frames - prompted)[::-1]  # far to near; the last row of the temporal code is that of prompted frames
    slots = np.concatenate([np.full(prompted, most - 1), rank])
    first = min(prompted, pointers)
    ages = np.concatenate([pointers + 4 * np.arange(first)[::-1], np.arange(1, pointers - first + 1)])
    inputs = {
        "MEMORY": memory[np.arange(frames) % len(memory)],
        "SLOT": slots.astype(np.int32),
        "POINTERS": pointer[np.arange(pointers) % len(pointer)],
        "DISTANCE": ages.astype(np.float32),
    }
    return {name: inputs[name] for name in source.inputs}


def decoder_rows(recorder: Recorder, variant: Variant, kept: Sequence[int]) -> Iterator[Row]:
    """Tracked, clicked, boxed, masked and corrected objects of the stored frames; and corrections with other numbers of clicks, up to the most."""
    seen = [one for one in recorder.of("mask_decoder") if one.image in kept]
    frame = _frame_of(kept) if variant.high_res else lambda one: None
    names = ("KIND", "HAS_MASK", "MULTIMASK")
    for one in _some(seen, lambda one: (*(int(one.inputs[name]) for name in names), len(one.inputs["LABELS"]))):
        yield Row("mask_decoder", frame(one), one.inputs)
    most = min(Limits().points, variant.family.max_prompt_points or Limits().points)
    for one in sorted(seen, key=lambda one: len(one.inputs["LABELS"]))[-_EACH:]:
        for count in (2, CLICKS, most):
            yield Row("mask_decoder", frame(one), {**one.inputs, **_clicks(one, count, variant)})


def _clicks(one: Seen, count: int, variant: Variant) -> dict[str, np.ndarray]:
    """POINTS and LABELS of so many clicks, all but the last of them spread over the mask that was answered; and the padding token."""
    low = one.outputs["LOW"]
    inside = np.argsort(-low, axis=None)[: max(int((low > 0).sum()), 4 * count)]
    rows, columns = np.unravel_index(inside[np.linspace(0, len(inside) - 1, count - 1).astype(int)], low.shape)
    points = (np.stack([columns, rows], axis=1) + 0.5) * (variant.image_size / variant.low_size)
    last = one.inputs["POINTS"][-2]  # beside the object
    return {
        "POINTS": np.concatenate([points, [last], np.zeros((1, 2))]).astype(np.float32),
        "LABELS": np.array([*[1] * (count - 1), 0, -1], np.int32),
    }


def memory_rows(recorder: Recorder, variant: Variant, kept: Sequence[int]) -> Iterator[Row]:
    """Masks that are thresholded and that are not, and an absent object. Logits keep off the threshold: no rounding decides about a pixel there."""
    seen = [one for one in recorder.of("memory_encoder") if one.image in kept]
    frame = _frame_of(kept)
    for one in _some(seen, lambda one: (int(one.inputs["BINARISE"]), len(one.inputs.get("RIVALS", ())))):
        if one.inputs["BINARISE"] or "RIVALS" in one.inputs:
            yield Row("memory_encoder", frame(one), {**one.inputs, "LOW": _off_zero(one.inputs["LOW"])})
        else:
            yield Row("memory_encoder", frame(one), one.inputs)
    last = seen[-1]
    absent = {"LOW": np.full_like(last.inputs["LOW"], variant.family.no_object_score), "SCORE": np.array(-5, np.float32)}
    yield Row("memory_encoder", frame(last), {**last.inputs, **{name: absent[name] for name in absent if name in last.inputs}})


def _off_zero(low: np.ndarray) -> np.ndarray:
    """Logits to multiples of 1/16 of which one in three is taken (masklet_build.samples): no mean of two of them that upsampling makes is near 0."""
    return ((3 * np.round(np.clip(low, -_THRESHOLDED, _THRESHOLDED) * 16 / 3) + 1) / 16).astype(np.float32)


def mask_rows(recorder: Recorder) -> Iterator[Row]:
    """The user's mask, and an empty one."""
    mask = recorder.of("mask_prompt")[0].inputs["MASK"]
    yield Row("mask_prompt", None, {"MASK": mask})
    yield Row("mask_prompt", None, {"MASK": np.zeros_like(mask)})


def _some(seen: Sequence[Seen], kind: Callable[[Seen], object]) -> Iterator[Seen]:
    """At most _EACH of each kind. A mask prompt needs no second one."""
    counts: dict[object, int] = {}
    for one in seen:
        counts[kind(one)] = counts.get(kind(one), 0) + 1
        if counts[kind(one)] <= (1 if one.inputs.get("KIND") == KIND_MASK else _EACH):
            yield one


def _frame_of(kept: Sequence[int]) -> Callable[[Seen], int]:
    return lambda one: kept.index(one.image)

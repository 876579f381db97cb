"""Which rows are kept of a tracked clip: one or two of every kind that an engine treats in its own way."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from masklet.contract import KIND_MASK
from masklet.families import Variant
from masklet_build.selftest.fixtures import Row
from masklet_build.selftest.recorder import Recorder, Seen
from masklet_build.tensorrt.profiles import Limits

_EACH = 2  # rows of a kind, so that a batch holds different ones
_START = 4  # memories and pointers of a young video
_THRESHOLDED = 100.0  # logits beyond are as good as infinite to a mask


def attention_rows(recorder: Recorder, variant: Variant) -> Iterator[Row]:
    """Memories and pointers in the numbers that a frame reads, two objects each: young videos, a steady one, several prompted frames, the most.

    They are those of the last frame; where a short clip has too few, they come again under the place in time that a long one would give them.
    """
    family, limits = variant.family, Limits()
    conditioning = min(limits.conditioning, family.max_conditioning or limits.conditioning)
    memories, pointers = family.num_memories, family.num_pointers
    kinds = [(1, 1, 1), (_START, _START, 1), (memories, pointers, 1), (memories + 1, pointers + 1, 2)]
    kinds.append((memories - 1 + conditioning, pointers - 1 + conditioning, conditioning))
    sources = recorder.of("memory_attention")[-_EACH:]
    for frames, count, prompted in dict.fromkeys(kinds):
        for place, source in enumerate(sources):
            yield Row("memory_attention", place % _EACH, _reading(source, frames, count, prompted, memories - 1))


def _reading(source: Seen, frames: int, pointers: int, prompted: int, slot: int) -> dict[str, np.ndarray]:
    """Inputs with so many memories and pointers, `prompted` of each of prompted frames, whose row of the temporal code is `slot`, as
    masklet_bank.bank.ObjectBank.read puts them together."""
    memory, pointer = source.inputs["MEMORY"], source.inputs["POINTERS"]
    rank = np.arange(frames - prompted)[::-1]  # far to near
    slots = np.concatenate([np.full(prompted, slot), rank])
    ages = np.concatenate([pointers + 4 * np.arange(prompted)[::-1], np.arange(1, pointers - prompted + 1)])
    inputs = {
        "MEMORY": memory[np.arange(frames) % len(memory)],
        "SLOT": slots.astype(np.int32),
        "POINTERS": pointer[np.arange(pointers) % len(pointer)],
        "DISTANCE": ages.astype(np.float32),
    }
    return {name: inputs[name] for name in source.inputs}


def decoder_rows(recorder: Recorder, variant: Variant, kept: Sequence[int]) -> Iterator[Row]:
    """Tracked, clicked, boxed, masked and corrected objects of the stored frames; and one with as many clicks as the server takes."""
    seen = [one for one in recorder.of("mask_decoder") if one.image in kept]
    frame = _frame_of(kept) if variant.high_res else lambda one: None
    names = ("KIND", "HAS_MASK", "MULTIMASK")
    several = None
    for one in _some(seen, lambda one: (*(int(one.inputs[name]) for name in names), len(one.inputs["LABELS"]))):
        yield Row("mask_decoder", frame(one), one.inputs)
        several = one if several is None or len(one.inputs["LABELS"]) > len(several.inputs["LABELS"]) else several
    assert several is not None
    most = min(Limits().points, variant.family.max_prompt_points or Limits().points)
    clicks = np.arange(most) % (len(several.inputs["LABELS"]) - 1)
    places = np.append(clicks, -1)  # the padding token ends every prompt
    many = {name: several.inputs[name][places] for name in ("POINTS", "LABELS")}
    yield Row("mask_decoder", frame(several), {**several.inputs, **many})


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

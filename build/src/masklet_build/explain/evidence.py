"""How one answer about an object came about: the numbers, and the arrays that pictures are drawn from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from masklet.families import Family, Variant
from masklet_build.explain import findings
from masklet_build.explain.attention import Attention, Doubles, attention
from masklet_build.explain.candidates import Candidates, candidates
from masklet_build.explain.replay import ExplainError
from masklet_build.in_process import Foreseen, mask_of
from masklet_build.models.stages import TorchStages
from masklet_build.quality.measures import region_similarity

NAMES = ("single", "1", "2", "3")  # of the candidate masks
Kind = Literal["tracked", "prompted", "corrected", "repeated"]


@dataclass(frozen=True, eq=False)
class Evidence:
    """What `findings.Answer` says of the network, with arrays.

    queries  float64 (G, G), summing to 1: whose attention it is
    maps     float64 (F, side, side): attention by place in each memory, mean over the layers
    masks    bool (4, H, W): the candidate masks at the size of the frame
    """

    kind: Kind
    told: list[str]
    attention: findings.Attention | None = None
    choice: findings.Choice | None = None
    queries: Doubles | None = None
    maps: Doubles | None = None
    masks: NDArray[np.bool_] | None = None


def evidence(how: Foreseen, stages: TorchStages, variant: Variant, size: tuple[int, int], point: tuple[float, float] | None) -> Evidence:
    """`size`: (height, width) of the frame; `point`: x, y in its pixels whose attention is asked for, instead of the mask's. Raises ExplainError."""
    job = how.action.job
    if job is None:
        return Evidence("repeated", ["An earlier answer on this frame was given once more; nothing was computed."])
    kind: Kind = "tracked" if not job.prompted else "prompted" if job.reading is None else "corrected"
    made = candidates(stages.stages["mask_decoder"], how.inputs["mask_decoder"], variant)
    attended, queries, maps, told = None, None, None, []
    if how.reads is not None:
        queries, whose = _queries(made, variant, size, point)
        found = attention(stages.stages["memory_attention"], how.inputs["memory_attention"], variant, queries)
        attended, maps = _attention(found, how, whose, int(np.count_nonzero(queries)), queries.size, size), found.maps.mean(axis=0)
        told.append(_told_of_attention(attended, kind))
    elif made is not None:
        told.append("Prompted here without memory: the mask comes from this frame and its prompts alone.")
    if made is None:
        return Evidence(kind, [*told, "The prompt is a mask: it is the answer, and nothing was decoded."], attended, None, queries, maps)
    masks = np.stack([mask_of(logits, size) for logits in made.logits])
    choice = _choice(made, masks, variant.family, how.inputs["mask_decoder"])
    return Evidence(kind, [*told, choice.reason, _told_of_presence(made.score)], attended, choice, queries, maps, masks)


def _queries(made: Candidates | None, variant: Variant, size: tuple[int, int], point: tuple[float, float] | None) -> tuple[Doubles, str]:
    """How much each place of the frame (G, G) counts, and in words."""
    grid, stride = variant.grid, variant.low_size // variant.grid
    if point is not None:
        (height, width), (x, y) = size, point
        if not (0 <= x < width and 0 <= y < height):
            raise ExplainError(f"the point {x:g},{y:g} is outside the frame, which is {width} x {height} pixels (width x height).")
        chosen = np.zeros((grid, grid))
        chosen[int(y * grid / height), int(x * grid / width)] = 1
        return chosen, f"the place at {x:g},{y:g}"
    assert made is not None  # a frame with memory is decoded
    covered = (made.logits[made.taken] > 0).reshape(grid, stride, grid, stride).mean(axis=(1, 3))
    if not covered.any():
        return np.full((grid, grid), 1 / grid**2), "all places alike, since the mask that was taken is empty"
    return covered / covered.sum(), "the places under the mask that was taken, each as much as it covers of it"


def _attention(found: Attention, how: Foreseen, whose: str, cells: int, places: int, size: tuple[int, int]) -> findings.Attention:
    assert how.reads is not None
    assert how.action.job is not None
    assert [slot for _, slot in how.reads.memories] == how.action.job.reading.slots, "the bank read other memories than its policy says"
    memories = [
        findings.MemoryShare(
            frame=frame,
            conditioning=frame in how.conditioning,
            slot=slot,
            distance=how.direction * (how.frame - frame),
            share=float(found.memories[:, row].mean()),
            layers=found.memories[:, row].tolist(),
            without_place=float(found.nowhere[:, row].mean()),
            peak=_peak(found.maps[:, row].mean(axis=0), size),
            peak_share=float(found.maps[:, row].mean(axis=0).max()),
        )
        for row, (frame, slot) in enumerate(how.reads.memories)
    ]
    pointers = [
        findings.PointerShare(
            frame,
            frame in how.conditioning,
            how.direction * (how.frame - frame),
            float(found.pointers[:, row].mean()),
            found.pointers[:, row].tolist(),
        )
        for row, (frame, _) in enumerate(how.reads.pointers)
    ]
    return findings.Attention(whose, cells, places, *found.even, memories, pointers, found.sum_error, found.output_error)


def _peak(places: Doubles, size: tuple[int, int]) -> tuple[float, float]:
    """x, y of the middle of the place with most, in pixels of the frame."""
    row, column = np.unravel_index(int(places.argmax()), places.shape)
    (height, width), side = size, len(places)
    return (float(column) + 0.5) * width / side, (float(row) + 0.5) * height / side


def _choice(made: Candidates, masks: NDArray[np.bool_], family: Family, inputs: Mapping[str, np.ndarray]) -> findings.Choice:
    ious = region_similarity(masks[made.taken][None], masks)
    shown = [
        findings.Candidate(name, iou, stability, int(mask.sum()), float(same), index == made.taken)
        for index, (name, iou, stability, mask, same) in enumerate(zip(NAMES, made.ious, made.stability, masks, ious, strict=True))
    ]
    return findings.Choice(made.several, family.stability_threshold, _reason(made, family, inputs), shown)


def _reason(made: Candidates, family: Family, inputs: Mapping[str, np.ndarray]) -> str:
    best = f"candidate {NAMES[made.taken]}, whose predicted IoU of {made.ious[made.taken]:.3f} is the highest of the three"
    points = int((inputs["LABELS"][0] >= 0).sum())
    with_points = f"a frame with {points} prompt points" if points else "a frame without prompt points"
    if made.several:
        return f"Taken: {best}. On {with_points} the best of three masks counts."
    keeps = f"it keeps {made.stability[0]:.1%} of its pixels when the threshold moves, and {family.stability_threshold:.0%} is wanted"
    if made.taken == 0:
        return f"Taken: the single mask. On {with_points} it counts where it is stable: {keeps}."
    return f"Taken: {best}. On {with_points} the single mask would count, but it is unstable: {keeps}."


def _told_of_presence(score: float) -> str:
    if score > 0:
        return f"The object counts as present: its presence logit is {score:.2f}, above 0."
    return f"The object counts as absent: its presence logit is {score:.2f}, not above 0. So its mask was emptied, whatever the candidates show."


def _told_of_attention(found: findings.Attention, kind: Kind) -> str:
    begin = "Tracked" if kind == "tracked" else "Corrected, with memory"
    prompted, tracked = ([one for one in found.memories if one.conditioning is wanted] for wanted in (True, False))
    parts = []
    if prompted:
        frames = f"frame {prompted[0].frame}" if len(prompted) == 1 else f"{len(prompted)} frames"
        parts.append(f"{sum(one.share for one in prompted):.0%} to the prompted {frames}")
    if tracked:
        most = max(tracked, key=lambda one: one.share)
        parts.append(f"{sum(one.share for one in tracked):.0%} to {len(tracked)} tracked (most to frame {most.frame}: {most.share:.0%})")
    parts.append(f"{sum(one.share for one in found.pointers):.0%} to {len(found.pointers)} object pointers")
    return f"{begin} with {len(found.memories)} memories. Of its attention went {', '.join(parts)}."

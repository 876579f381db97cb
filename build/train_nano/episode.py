"""One training episode: objects are prompted on the first frame of their clips and tracked through the others, as a server would.

frame 0:   embed -> (decode with the prompt) -> encode, thresholded           } memories and pointers are kept as the bank keeps them:
frame t:   embed -> attend -> decode without a prompt -> encode                } prompted frame first, then ordinary ones from far to near

A corrected frame is decoded once more with the click and the mask before it; a mask that a click made is thresholded before it is encoded.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor

from masklet_build.models.sam.mask_prompt import MASK_BIAS, MASK_SCALE
from masklet_build.models.sam.tables import resize_matrix
from train_nano import prompts
from train_nano.losses import IDENTITY, Target, frame_loss, identity, overlap, target
from train_nano.network import Decoded, Memory, Prompt, Trainable

PromptKind = Literal["point", "box", "mask"]


@dataclass(frozen=True)
class Plan:
    """What a user does in an episode.

    kind        the prompt on frame 0; the objects of a batch are prompted alike, because prompts are never padded
    corrected   frames on which one corrective click follows
    forgetful   only the prompted frame is remembered, as after a long absence
    """

    kind: PromptKind
    corrected: frozenset[int] = frozenset()
    forgetful: bool = False

    @classmethod
    def draw(cls, dice: random.Random, frames: int) -> Plan:
        """A random plan for a clip of that many frames."""
        by_mask = 0.2 if frames > 1 else 0.0  # on the prompted frame the mask itself is the answer: nothing to learn
        kind: PromptKind = dice.choices(("point", "box", "mask"), (0.5, 0.3, by_mask))[0]
        corrected = {frame for frame in range(frames) if dice.random() < (0.25 if frame == 0 else 0.05)}
        return cls(kind, frozenset(corrected - {0} if kind == "mask" else corrected), dice.random() < 0.15)


@dataclass
class Outcome:
    """Loss terms by name, each a mean over frames; measures are for people.

    ious       IoU [B] of every mask that was decoded for a loss, in order, at half the image size; NaN where the object is absent. A corrected
               frame gives two, a frame prompted by its mask none
    away       tracked frames and objects: (truly away and said so, truly away, said to be away)
    """

    terms: dict[str, Tensor] = field(default_factory=dict)
    ious: list[Tensor] = field(default_factory=list)
    away: tuple[int, int, int] = (0, 0, 0)

    @property
    def total(self) -> Tensor:
        """What is minimised."""
        return torch.stack(list(self.terms.values())).sum()


def run_episode(model: Trainable, images: Tensor, masks: Tensor, plan: Plan) -> Outcome:
    """images uint8 [C, frames, S, S, 3], masks bool [C, frames, O, S, S] of objects that are all in view on frame 0."""
    clips, frames, objects = masks.shape[:3]
    embedded = model.embed(images.flatten(0, 1)).unflatten(0, (clips, frames))
    grid = images.shape[2] // model.variant.stride
    low_size = 4 * grid
    outcome = Outcome()
    if frames > 1:
        outcome.terms["identity"] = IDENTITY * identity(embedded, _cells(masks, grid))
    kept: list[Memory] = []
    for time in range(frames):
        truth = masks[:, time].flatten(0, 1)
        image = embedded[:, time]
        goal = target(truth, low_size)
        if time == 0:
            kept.append(_prompted(model, image, objects, truth, goal, plan, outcome, frames))
        else:
            kept.append(_tracked(model, image, objects, truth, goal, plan, kept, time, outcome, frames))
    return outcome


def _cells(masks: Tensor, grid: int) -> Tensor:
    """Masks bool [C, frames, O, S, S] -> share of each cell of the grid, [C, frames, O, T]."""
    side = masks.shape[-1] // grid
    return masks.unflatten(4, (grid, side)).unflatten(3, (grid, side)).float().mean(dim=(4, 6)).flatten(3)


def _prompted(model: Trainable, image: Tensor, objects: int, truth: Tensor, goal: Target, plan: Plan, outcome: Outcome, frames: int) -> Memory:
    features = image.repeat_interleave(objects, dim=0)
    if plan.kind == "mask":
        pixels = truth.float()
        prompt = Prompt(*_nothing(features), model.network.mask_downsample(pixels[:, None]))
        shrink = resize_matrix(truth.shape[-1], truth.shape[-1] // (model.variant.stride // 4)).to(features)
        low = shrink @ (MASK_SCALE * pixels + MASK_BIAS) @ shrink.T
        decoded = model.decode(features, prompt, memoryless=False)
        token = decoded.tokens[:, 0]
        pointer = model.pointer(token, goal.present & (decoded.score > 0))
        return Memory(model.encode(image, objects, low, binarise=True), pointer)
    prompt = prompts.first_click(truth) if plan.kind == "point" else prompts.box(truth)
    decoded = model.decode(features, prompt, memoryless=True)
    low, token = _chosen(decoded, single=plan.kind == "box")
    _count(outcome, decoded, goal, low, frames)
    if 0 in plan.corrected:
        prompt = prompts.correction(truth, _gated(model, decoded, low), prompt, model.variant.family.previous_logits_limit)
        decoded = model.decode(features, prompt, memoryless=True)
        low, token = _chosen(decoded, single=True)
        _count(outcome, decoded, goal, low, frames)
    return _remembered(model, image, objects, decoded, low, token, binarise=True)


def _tracked(
    model: Trainable,
    image: Tensor,
    objects: int,
    truth: Tensor,
    goal: Target,
    plan: Plan,
    kept: list[Memory],
    time: int,
    outcome: Outcome,
    frames: int,
) -> Memory:
    family = model.variant.family
    distances = [] if plan.forgetful else [distance for distance in range(family.num_memories - 1, 0, -1) if distance < time]
    memories = [kept[0], *(kept[time - distance] for distance in distances)]
    slots = [family.num_memories - 1, *(distance - 1 for distance in distances)]
    pointers = [kept[0].pointer, *(kept[time - distance].pointer for distance in range(1, family.num_pointers) if distance < time)]
    features = model.attend(image, objects, memories, slots, pointers[:1] if plan.forgetful else pointers)
    decoded = model.decode(features, None, memoryless=False)
    low, token = _chosen(decoded, single=False)
    _count(outcome, decoded, goal, low, frames)
    _count_away(outcome, decoded.score, goal.present)
    if time in plan.corrected:
        prompt = prompts.correction(truth, _gated(model, decoded, low), None, family.previous_logits_limit)
        decoded = model.decode(features, prompt, memoryless=False)
        low, token = _chosen(decoded, single=False)
        _count(outcome, decoded, goal, low, frames)
    return _remembered(model, image, objects, decoded, low, token, binarise=time in plan.corrected)


def _nothing(features: Tensor) -> tuple[Tensor, Tensor]:
    """No points for so many objects."""
    rows = len(features)
    return torch.zeros(rows, 0, 2, device=features.device), torch.zeros(rows, 0, dtype=torch.long, device=features.device)


def _chosen(decoded: Decoded, *, single: bool) -> tuple[Tensor, Tensor]:
    """Logits [B, L, L] and token [B, hidden] of the mask that counts: the single one, or the best of three by predicted IoU."""
    if single:
        return decoded.logits[:, 0], decoded.tokens[:, 0]
    best = 1 + decoded.iou[:, 1:].argmax(dim=1)
    row = torch.arange(len(best), device=best.device)
    return decoded.logits[row, best], decoded.tokens[row, best]


def _gated(model: Trainable, decoded: Decoded, low: Tensor) -> Tensor:
    """Logits [B, L, L] as a server keeps them: an object that the model holds for absent has an empty mask."""
    return torch.where((decoded.score > 0)[:, None, None], low, model.variant.family.no_object_score)


def _remembered(model: Trainable, image: Tensor, objects: int, decoded: Decoded, low: Tensor, token: Tensor, *, binarise: bool) -> Memory:
    """The memory of a frame; an object that the model holds for absent leaves an empty mask and the pointer of no object."""
    memory = model.encode(image, objects, _gated(model, decoded, low), binarise=binarise)
    return Memory(memory, model.pointer(token, decoded.score > 0))


def _count(outcome: Outcome, decoded: Decoded, goal: Target, low: Tensor, frames: int) -> None:
    for name, value in frame_loss(decoded, goal).items():
        outcome.terms[name] = outcome.terms.get(name, 0) + value / frames
    with torch.no_grad():
        fine = torch.nn.functional.interpolate(low[:, None], goal.share.shape[-2:], mode="bilinear", align_corners=False)[:, 0]
        iou = overlap(fine.masked_fill(decoded.score[:, None, None] <= 0, -1.0), goal.share)
        outcome.ious.append(iou.masked_fill(~goal.present, torch.nan))


def _count_away(outcome: Outcome, score: Tensor, present: Tensor) -> None:
    said, truly = score <= 0, ~present
    both, away, claimed = outcome.away
    outcome.away = both + int((said & truly).sum()), away + int(truly.sum()), claimed + int(said.sum())

"""How good the averaged weights are on clips that training never sees: a look on the way; the measure is `masklet-build evaluate`."""

from __future__ import annotations

import torch
from torch import distributed

from train_nano.data import Clips, batches
from train_nano.episode import Plan, PromptKind, run_episode
from train_nano.network import Trainable

CLIPS, FRAMES = 12, 16
_KINDS: tuple[PromptKind, ...] = ("point", "box")


@torch.no_grad()
def validate(model: Trainable, objects: int, rank: int, processes: int) -> dict[str, float]:
    """Mean IoU over tracked frames in which the object is present, by prompt, and precision and recall of "away" where they are defined.

    The processes share the clips.
    """
    device = next(model.parameters()).device
    numbers = list(range(rank, CLIPS, processes))
    sums = torch.zeros(2 * len(_KINDS) + 3)
    torch.manual_seed(0)
    for images, masks in batches(Clips("validation", FRAMES, model.variant.image_size, objects), numbers, 2, 0):
        for index, kind in enumerate(_KINDS):
            with torch.autocast(device.type, torch.bfloat16):
                outcome = run_episode(model, images.to(device), masks.to(device), Plan(kind))
            ious = torch.stack(outcome.ious[1:])
            sums[2 * index] += ious.nansum().cpu()
            sums[2 * index + 1] += (~ious.isnan()).sum().cpu()
            sums[-3:] += torch.tensor(outcome.away)
    if processes > 1:
        distributed.all_reduce(sums)
    both, away, claimed = sums[-3:].tolist()
    figures = {f"iou_{kind}": float(sums[2 * index] / sums[2 * index + 1]) for index, kind in enumerate(_KINDS)}
    return figures | {name: both / count for name, count in (("away_recall", away), ("away_precision", claimed)) if count}

"""Prompts for training, drawn from true masks, and clicks that correct a wrong mask. All in model pixels."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from train_nano.network import Prompt

_JITTER = 0.1  # of a box's side: a drawn box is never exact
_CELL = 4  # pixels: how much of a region lies around a place is counted in cells of this side
_PREFERENCE = 4.0


def click(region: Tensor) -> Tensor:
    """A random place inside each region, bool [B, S, S] -> [B, 2] x, y; inner places are likelier. The image's centre where a region is empty."""
    side = region.shape[-1]
    inside = region.float()
    cells = inside.unflatten(2, (-1, _CELL)).unflatten(1, (-1, _CELL)).mean(dim=(2, 4))
    around = functional.avg_pool2d(cells[:, None], 5, 1, 2) ** _PREFERENCE
    weight = (inside * functional.interpolate(around, scale_factor=_CELL)[:, 0]).flatten(1)
    empty = weight.sum(dim=1) == 0
    weight[empty, (side * side + side) // 2] = 1.0
    place = torch.multinomial(weight, 1)[:, 0]
    return torch.stack((place % side, place // side), dim=1).float()


def first_click(masks: Tensor) -> Prompt:
    """One click on each object, bool [B, S, S]."""
    return Prompt(click(masks)[:, None], torch.ones(len(masks), 1, dtype=torch.long, device=masks.device))


def box(masks: Tensor) -> Prompt:
    """A box around each object, bool [B, S, S]: ends exclusive, moved by up to a tenth of its sides."""
    side = masks.shape[-1]
    ends = []
    for axis in (1, 2):  # x: any over rows; y: any over columns
        along = masks.any(dim=axis).float()
        low = along.argmax(dim=1).float()
        high = side - along.flip(1).argmax(dim=1).float()
        ends.append((low, high))
    (x0, x1), (y0, y1) = ends
    corners = torch.stack((x0, y0, x1, y1), dim=1)
    sides = torch.stack((x1 - x0, y1 - y0), dim=1).repeat(1, 2)
    corners = (corners + (2 * torch.rand_like(corners) - 1) * _JITTER * sides).clamp(0, side)
    labels = torch.tensor([2, 3], device=masks.device).expand(len(masks), 2)
    return Prompt(corners.reshape(-1, 2, 2), labels)


def correction(masks: Tensor, logits: Tensor, before: Prompt | None, limit: float) -> Prompt:
    """The prompt so far with a click where the mask is wrong, and the logits [B, L, L] of the wrong mask, cut at +-limit.

    masks: bool [B, S, S], the truth. The click falls on the larger of what is missing and what is too much; on the object where nothing is wrong.
    Where the object is absent and nothing is too much, the image's centre is said to be beside it.
    """
    found = functional.interpolate(logits[:, None], masks.shape[-2:], mode="bilinear", align_corners=False)[:, 0] > 0
    missing, extra = masks & ~found, found & ~masks
    more = missing.flatten(1).sum(dim=1) >= extra.flatten(1).sum(dim=1)
    region = torch.where(more[:, None, None], missing, extra)
    right = ~region.flatten(1).any(dim=1)
    region = torch.where(right[:, None, None], masks, region)
    points, labels = click(region)[:, None], (more & masks.flatten(1).any(dim=1)).long()[:, None]
    if before is not None:
        points, labels = torch.cat((before.points, points), dim=1), torch.cat((before.labels, labels), dim=1)
    return Prompt(points, labels, logits.detach()[:, None].clamp(-limit, limit))

"""What a training step minimises, with the terms and weights of SAM 2 (Ravi et al. 2024, appendix D.2; training/loss_fns.py there).

Focal 20, dice 1, IoU 1 (absolute error), presence 1 (cross-entropy). Two things differ, because there are so few examples here:

* SAM 2 teaches only the best of three masks, so that they can stand for the readings of an ambiguous click. The clips here have whole objects
  only, and all four masks learn from each.
* `identity` tells the image encoder directly what the memory attention needs of it: that places of one object look alike on all frames.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from train_nano.network import Decoded

FOCAL, DICE, IOU, PRESENCE, IDENTITY = 20.0, 1.0, 1.0, 1.0, 0.5
_SHARPNESS = 0.07  # of the softmax over cosines
FINER = 2  # the logits are upsampled so many times for the mask losses


@dataclass(frozen=True)
class Target:
    """Ground truth of B objects on one frame.

    share    [B, h, w] share of each pixel that the object covers, 0..1, at FINER times the size of the logits
    present  [B] bool
    """

    share: Tensor
    present: Tensor


def target(masks: Tensor, low_size: int) -> Target:
    """Ground truth of bool masks [B, S, S]."""
    factor = masks.shape[-1] // (FINER * low_size)
    blocks = masks.unflatten(2, (-1, factor)).unflatten(1, (-1, factor))
    return Target(blocks.float().mean(dim=(2, 4)), masks.flatten(1).any(dim=1))


def frame_loss(decoded: Decoded, truth: Target) -> dict[str, Tensor]:
    """Terms by name, each a scalar: mean over objects; masks count only where the object is present."""
    fine = functional.interpolate(decoded.logits, scale_factor=FINER, mode="bilinear", align_corners=False)
    share = truth.share[:, None].expand_as(fine)
    present = truth.present.float()
    count = present.sum().clamp(min=1)

    def over_present(values: Tensor) -> Tensor:
        return (values.mean(dim=1) * present).sum() / count

    return {
        "focal": FOCAL * over_present(focal(fine, share)),
        "dice": DICE * over_present(dice(fine, share)),
        "iou": IOU * over_present((decoded.iou - overlap(fine, share)).abs()),
        "presence": PRESENCE * functional.binary_cross_entropy_with_logits(decoded.score, present),
    }


def identity(image: Tensor, share: Tensor) -> Tensor:
    """How badly the labels of frame 0 are found on the other frames by likeness of image tokens alone: cross-entropy, a scalar.

    image: tokens [C, frames, T, hidden]; share: [C, frames, O, T] of each cell that each object covers, 0..1. Every cell takes the labels of the
    cells of frame 0 that it resembles (softmax over cosines): label propagation, as in Jabri et al. 2020. Each object and the background weigh the
    same on each frame on which they can be seen.
    """
    code = functional.normalize(image.float() - image.float().mean(dim=(1, 2), keepdim=True), dim=-1)
    nearness = torch.softmax(code[:, 1:] @ code[:, :1].transpose(2, 3) / _SHARPNESS, dim=-1)
    labels = torch.cat((1 - share.sum(dim=2, keepdim=True).clamp(max=1), share), dim=2)
    found = nearness @ labels[:, :1].transpose(2, 3)
    truth = labels[:, 1:]
    seen = truth.sum(dim=-1)
    miss = -(truth * torch.log(found + 1e-3).transpose(2, 3)).sum(dim=-1) / seen.clamp(min=1e-6)
    counts = (seen > 0.5).float()  # half a cell: less cannot be told from its neighbours
    return (miss * counts).sum() / counts.sum().clamp(min=1)


def focal(logits: Tensor, share: Tensor, alpha: float = 0.25, gamma: float = 2.0) -> Tensor:
    """Focal loss (Lin et al. 2017), mean over the pixels of [..., h, w]."""
    cross = functional.binary_cross_entropy_with_logits(logits, share, reduction="none")
    probability = torch.sigmoid(logits)
    miss = (probability - share).abs()
    weight = alpha * share + (1 - alpha) * (1 - share)
    return (weight * cross * miss**gamma).mean(dim=(-2, -1))


def dice(logits: Tensor, share: Tensor) -> Tensor:
    """Dice loss (Milletari et al. 2016) of [..., h, w]."""
    probability = torch.sigmoid(logits)
    both = (probability * share).sum(dim=(-2, -1))
    return 1 - (2 * both + 1) / (probability.sum(dim=(-2, -1)) + share.sum(dim=(-2, -1)) + 1)


@torch.no_grad()
def overlap(logits: Tensor, share: Tensor) -> Tensor:
    """IoU of the masks [..., h, w] that logits and shares stand for; 1 for two empty ones."""
    found, true = logits > 0, share > 0.5
    union = (found | true).sum(dim=(-2, -1))
    return torch.where(union > 0, (found & true).sum(dim=(-2, -1)) / union.clamp(min=1), 1.0)

"""Mask prompt: a user's mask becomes a prompt for the decoder and low-resolution logits (modeling/efficienttam_base.py:417-467)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from masklet.families import Variant
from masklet_build.models.sam.tables import resize_matrix

MASK_SCALE, MASK_BIAS = 20.0, -10.0  # logits of a user's mask (:423)


class MaskPrompt(nn.Module):
    """Stage mask_prompt."""

    def __init__(self, downsample: nn.Conv2d, variant: Variant) -> None:
        super().__init__()
        self.downsample = downsample
        shrink = resize_matrix(variant.mask_size, variant.low_size)
        self.register_buffer("shrink", shrink, persistent=False)

    def forward(self, mask: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """MASK uint8 [B, M, M] -> MASK_PROMPT [B, 1, L, L], LOW [B, L, L], PRESENT int32 [B]."""
        pixels = mask.float()
        low = self.shrink @ (MASK_SCALE * pixels + MASK_BIAS) @ self.shrink.T
        present = (pixels.amax(dim=(1, 2)) > 0).to(torch.int32)
        return self.downsample(pixels[:, None]), low, present


class SoftMaskPrompt(nn.Module):
    """Stage mask_prompt where masks are soft: logits are made elsewhere (SAM 3 sam3_tracker_base.py:388-434)."""

    def __init__(self, downsample: nn.Conv2d) -> None:
        super().__init__()
        self.downsample = downsample

    def forward(self, mask: Tensor) -> tuple[Tensor, Tensor]:
        """MASK float32 [B, M, M] -> MASK_PROMPT [B, 1, L, L], PRESENT int32 [B]."""
        return self.downsample(mask[:, None]), (mask.amax(dim=(1, 2)) > 0).to(torch.int32)

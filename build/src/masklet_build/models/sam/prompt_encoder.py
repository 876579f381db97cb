"""Prompt encoder: points and mask prompts become tokens and a dense map (modeling/sam/prompt_encoder.py)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from masklet.families import Variant
from masklet_build.models.sam.layers import LayerNorm2d, tokens_of
from masklet_build.models.sam.tables import fourier_code

MASK_CHANNELS = 16


class FourierParameters(nn.Module):
    """Frequencies of the Fourier code: a buffer of the checkpoint."""

    positional_encoding_gaussian_matrix: Tensor

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.register_buffer("positional_encoding_gaussian_matrix", torch.zeros(2, hidden // 2))


class PromptEncoder(nn.Module):
    """Parameters of the prompt encoder, and the two things it does."""

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.pe_layer = FourierParameters(hidden)
        self.point_embeddings = nn.ModuleList(nn.Embedding(1, hidden) for _ in range(4))
        self.not_a_point_embed = nn.Embedding(1, hidden)
        self.no_mask_embed = nn.Embedding(1, hidden)
        self.mask_downscaling = nn.Sequential(
            nn.Conv2d(1, MASK_CHANNELS // 4, 2, 2),
            LayerNorm2d(MASK_CHANNELS // 4),
            nn.GELU(),
            nn.Conv2d(MASK_CHANNELS // 4, MASK_CHANNELS, 2, 2),
            LayerNorm2d(MASK_CHANNELS),
            nn.GELU(),
            nn.Conv2d(MASK_CHANNELS, hidden, 1),
        )

    def tokens(self, points: Tensor, labels: Tensor, variant: Variant) -> Tensor:
        """POINTS [B, N, 2] in model pixels and LABELS [B, N] -> [B, N, hidden].

        A label picks a row of one table, the row of -1 first; coordinates count only where the label is 0 or more (:78-121). The half
        pixel is one of the model image.
        """
        table = torch.cat((self.not_a_point_embed.weight, *(embedding.weight for embedding in self.point_embeddings)))
        code = fourier_code((points + 0.5) / variant.image_size, self.pe_layer.positional_encoding_gaussian_matrix)
        placed = code.masked_fill(labels[..., None] < 0, 0.0)
        return placed + functional.embedding(labels + 1, table)

    def dense(self, mask_prompt: Tensor, has_mask: Tensor, variant: Variant) -> Tensor:
        """MASK_PROMPT [B, 1, L, L] and HAS_MASK [B] -> [B, T, hidden]."""
        encoded = tokens_of(self.mask_downscaling(mask_prompt), variant.grid, variant.hidden)
        return torch.where(has_mask[:, None, None] > 0, encoded, self.no_mask_embed.weight)

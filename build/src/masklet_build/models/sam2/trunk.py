"""Hiera: a vision transformer of four stages, each with half the map and twice the channels of the one before (modeling/backbones/hieradet.py)."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import accumulate
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from masklet_build.models.sam import windows
from masklet_build.models.sam.layers import Attending, Linear, Mlp, tokens_of
from masklet_build.models.trunks import Hiera

PATCH_STRIDE = 4  # pixels per token of the first stage (modeling/backbones/utils.py:71)
MLP_RATIO = 4  # hieradet.py:90
POOL = 2  # hieradet.py:180


class BlockShape(NamedTuple):
    """Numbers of one block: width and grid at its two ends, heads, and the side of its windows at its input."""

    width_in: int
    width: int
    grid_in: int
    grid: int
    heads: int
    window: int

    @property
    def pools(self) -> bool:
        """Whether the block leads over to the next stage."""
        return self.grid_in != self.grid


def block_shapes(trunk: Hiera, image_size: int) -> Iterator[BlockShape]:
    """The blocks in order. The first of a stage has the windows of the stage before (hieradet.py:235-257)."""
    width, grid, heads, index = trunk.embed_dim, image_size // PATCH_STRIDE, trunk.num_heads, 0
    for stage, count in enumerate(trunk.stages):
        for first in (place == 0 and stage > 0 for place in range(count)):
            window = grid if index in trunk.global_blocks else trunk.windows[stage - first]
            width_in, grid_in = width, grid
            if first:
                width, grid, heads = POOL * width, grid // POOL, POOL * heads
            yield BlockShape(width_in, width, grid_in, grid, heads, window)
            index += 1


def max_pool(x: Tensor, grid: int, channels: int) -> Tensor:
    """Largest of each 2 x 2: tokens [V, grid * grid, channels] -> [V, grid * grid / 4, channels]. Rows first, then columns."""
    half = grid // POOL
    rows = x.reshape(-1, half, POOL, grid * channels).amax(dim=2)
    return rows.reshape(-1, half * half, POOL, channels).amax(dim=2)


class BlockAttention(Attending):
    """Attention within windows; queries are pooled where the block leads over to the next stage (hieradet.py:56-81, 142-161).

    Officially the normalised map is padded with zeros to whole windows before qkv, without a mask. A linear layer makes its bias of a zero, so
    here the weights come before the padding and the bias after it. A window has an even side, so pooling never mixes two of them, nor the map with
    its padding: queries are pooled before windows are cut.
    """

    def __init__(self, shape: BlockShape) -> None:
        super().__init__()
        self.qkv = Linear(shape.width_in, 3 * shape.width)
        self.proj = nn.Linear(shape.width, shape.width)
        self.shape = shape

    def forward(self, x: Tensor) -> Tensor:
        """[V, grid_in * grid_in, width_in] -> [V, grid * grid, width]."""
        shape = self.shape
        width, heads = shape.width, shape.heads
        q, kv = self.qkv.product(x).split((width, 2 * width), dim=-1)
        side = shape.window * shape.grid // shape.grid_in
        if shape.pools:
            q = max_pool(q, shape.grid_in, width)
        q = windows.split(q, shape.grid, side, width) + self.qkv.bias[:width]
        kv = windows.split(kv, shape.grid_in, shape.window, 2 * width) + self.qkv.bias[width:]
        q = q.reshape(-1, side**2, heads, width // heads).transpose(1, 2) * (width // heads) ** -0.5
        k, v = kv.reshape(-1, shape.window**2, 2, heads, width // heads).permute(2, 0, 3, 1, 4).unbind(0)
        projected: Tensor = self.proj(windows.join(self.core(q, k, v).transpose(1, 2), shape.grid, side, width))
        return projected


class Block(nn.Module):
    """Pre-norm block (hieradet.py:134-166). Where the width changes, the residual is a projection of the normalised map."""

    def __init__(self, shape: BlockShape) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(shape.width_in, eps=1e-6)
        self.attn = BlockAttention(shape)
        self.norm2 = nn.LayerNorm(shape.width, eps=1e-6)
        self.mlp = Mlp((shape.width, MLP_RATIO * shape.width, shape.width), functional.gelu)
        self.shape = shape
        if shape.pools:
            self.proj = nn.Linear(shape.width_in, shape.width)

    def forward(self, x: Tensor) -> Tensor:
        """[V, grid_in * grid_in, width_in] -> [V, grid * grid, width]."""
        y = self.norm1(x)
        if self.shape.pools:
            x = max_pool(self.proj(y), self.shape.grid_in, self.shape.width)
        x = x + self.attn(y)
        out: Tensor = x + self.mlp(self.norm2(x))
        return out


class PatchEmbed(nn.Module):
    """Overlapping patches become tokens (modeling/backbones/utils.py:63-95)."""

    def __init__(self, width: int, grid: int) -> None:
        super().__init__()
        self.width, self.grid = width, grid
        self.proj = nn.Conv2d(3, width, 7, PATCH_STRIDE, 3)

    def forward(self, pixels: Tensor) -> Tensor:
        """[V, 3, S, S] -> tokens [V, S / 4 * S / 4, width]."""
        return tokens_of(self.proj(pixels), self.grid, self.width)


class Trunk(nn.Module):
    """Patches and blocks. The position embedding is made by the stage, once."""

    def __init__(self, trunk: Hiera, image_size: int) -> None:
        super().__init__()
        self.pos_embed = nn.Parameter(torch.zeros(1, trunk.embed_dim, trunk.background, trunk.background))
        self.pos_embed_window = nn.Parameter(torch.zeros(1, trunk.embed_dim, trunk.windows[0], trunk.windows[0]))
        self.patch_embed = PatchEmbed(trunk.embed_dim, image_size // PATCH_STRIDE)
        self.blocks = nn.ModuleList(Block(shape) for shape in block_shapes(trunk, image_size))
        self.ends = [end - 1 for end in accumulate(trunk.stages)]

    def forward(self, pixels: Tensor, position: Tensor) -> list[Tensor]:
        """[V, 3, S, S] and the position embedding [1, S / 4 * S / 4, width] -> the four stages' tokens [V, n * n, C], finest first."""
        x = self.patch_embed(pixels) + position
        levels = []
        for index, block in enumerate(self.blocks):
            x = block(x)
            if index in self.ends:
                levels.append(x)
        return levels


def position_embedding(background: Tensor, window: Tensor, grid: int) -> Tensor:
    """Stored embeddings [1, C, b, b], resized bicubically, and [1, C, w, w], repeated in every window -> [1, grid * grid, C]
    (hieradet.py:273-281)."""
    resized = functional.interpolate(background, size=(grid, grid), mode="bicubic", align_corners=False)
    count = grid // window.shape[-1]
    return (resized + window.tile(1, 1, count, count)).flatten(2).transpose(1, 2).contiguous()

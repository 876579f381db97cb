"""Image encoder of SAM 3: a vision transformer with rotary codes, and the tracker's branch of its neck (model/vitdet.py, model/necks.py).

Tokens stand in the order of windows from the first block to the last, window by window. So a windowed block only reshapes, a global block needs
no order but that of its rotary table, and nothing is moved between blocks.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from masklet.families import Variant
from masklet_build.models.sam.layers import Attending, one_after_another
from masklet_build.models.sam.memory_attention import rotate
from masklet_build.models.sam.pixels import Pixels
from masklet_build.models.sam.tables import rotary_table
from masklet_build.models.sam3.parameters import NeckLevel, TrunkBlockParameters, VisionBackbone
from masklet_build.models.trunks import Sam3Vit
from masklet_build.models.variants import trunk_of


def in_windows(x: Tensor, window: int) -> Tensor:
    """[grid, grid, ...] -> [grid * grid, ...]: windows row by row, and row by row within each."""
    count = x.shape[0] // window
    split = x.reshape(count, window, count, window, *x.shape[2:])
    return split.transpose(1, 2).reshape(-1, *x.shape[2:])


class TrunkBlock(Attending):
    """Pre-norm block of windowed or global attention (model/vitdet.py:490-582).

    Rows of a head's query and key projections are sorted, even channels first, so that the rotary code turns two halves; products of queries
    with keys do not change. The scale of the queries, 1/8, is in their rows too.
    """

    def __init__(self, source: TrunkBlockParameters, trunk: Sam3Vit, cosine: Tensor, sine: Tensor) -> None:
        """cosine, sine: [tokens of a window, width of a head / 2]; the whole image is one window of a global block."""
        super().__init__()
        self.norm1, self.norm2, self.mlp, self.proj = source.norm1, source.norm2, source.mlp, source.attn.proj
        self.heads, self.width, self.tokens = trunk.num_heads, trunk.embed_dim // trunk.num_heads, len(cosine)
        self.qkv = _sorted_for_rotation(source.attn.qkv, self.heads, self.width)
        self.register_buffer("cosine", cosine, persistent=False)
        self.register_buffer("sine", sine, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """[V * windows, tokens of a window, E], whatever the window of the block before -> the same, cut for this block."""
        channels = self.heads * self.width
        x = x.reshape(-1, self.tokens, channels)
        qkv = self.qkv(self.norm1(x)).reshape(-1, self.tokens, 3, self.heads, self.width).permute(2, 0, 3, 1, 4)
        q, k, v = qkv.unbind(0)
        attended = self.core(rotate(q, self.cosine, self.sine), rotate(k, self.cosine, self.sine), v)
        x = x + self.proj(attended.transpose(1, 2).reshape(-1, self.tokens, channels))
        out: Tensor = x + self.mlp(self.norm2(x))
        return out


def _sorted_for_rotation(qkv: nn.Linear, heads: int, width: int) -> nn.Linear:
    order = torch.cat((torch.arange(0, width, 2), torch.arange(1, width, 2)))
    made = nn.Linear(qkv.in_features, qkv.out_features)
    for target, source in ((made.weight, qkv.weight), (made.bias, qkv.bias)):
        rows = source.detach().reshape(3, heads, width, -1)
        rows = torch.stack((rows[0][:, order] * width**-0.5, rows[1][:, order], rows[2]))
        target.data = rows.reshape(source.shape)
    return made.requires_grad_(False)


class Neck(nn.Module):
    """Three levels of the neck; those of high resolution with the decoder's projection behind them (model/necks.py:41-126).

    A 1x1 convolution behind a 3x3 one makes one 3x3 convolution of both, to 32 and 64 channels instead of 256 (sam3_tracker_base.py:449-454).
    """

    def __init__(self, levels: nn.ModuleList, fine: nn.Conv2d, middle: nn.Conv2d) -> None:
        super().__init__()
        self.levels = nn.ModuleList(cast(NeckLevel, level).before_3x3() for level in levels)
        last = [cast(NeckLevel, level).conv_3x3 for level in levels]
        self.last = nn.ModuleList((one_after_another(last[0], fine), one_after_another(last[1], middle), last[2]))

    def forward(self, x: Tensor) -> list[Tensor]:
        """[V, E, G, G] -> [V, 32, 4 G, 4 G], [V, 64, 2 G, 2 G] and [V, hidden, G, G]."""
        return [last(level(x)) for level, last in zip(self.levels, self.last, strict=True)]


class ImageEncoder(nn.Module):
    """Stage image_encoder: normalisation, trunk, neck."""

    def __init__(self, backbone: VisionBackbone, fine: nn.Conv2d, middle: nn.Conv2d, variant: Variant) -> None:
        super().__init__()
        trunk = trunk_of(variant)
        assert isinstance(trunk, Sam3Vit)
        self.grid, self.window, self.channels = variant.grid, trunk.window_size, trunk.embed_dim
        self.patch_embed, self.ln_pre = backbone.trunk.patch_embed.proj, backbone.trunk.ln_pre
        near, far = rotary_tables(trunk, variant.grid).values()
        ordered = tuple(in_windows(table.reshape(variant.grid, variant.grid, -1), trunk.window_size) for table in far)
        self.blocks = nn.ModuleList(
            TrunkBlock(cast(TrunkBlockParameters, block), trunk, *(ordered if index in trunk.global_blocks else near))
            for index, block in enumerate(backbone.trunk.blocks)
        )
        self.neck = Neck(backbone.sam2_convs, fine, middle)
        self.register_buffer("position", _tiled_position(backbone.trunk.pos_embed.detach(), variant.grid, trunk.window_size), persistent=False)
        self.pixels = Pixels(variant)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """IMAGE uint8 [V, S, S, 3] -> EMBEDDING [V, hidden, G, G], HIGH_RES_0 [V, 32, 4 G, 4 G], HIGH_RES_1 [V, 64, 2 G, 2 G]."""
        patches = self.patch_embed(self.pixels(image))
        count = self.grid // self.window
        split = patches.reshape(-1, self.channels, count, self.window, count, self.window)
        x = self.ln_pre(split.permute(0, 2, 4, 3, 5, 1).reshape(-1, self.grid**2, self.channels) + self.position)
        for block in self.blocks:
            x = block(x)
        windows = x.reshape(-1, count, count, self.window, self.window, self.channels)
        fine, middle, coarse = self.neck(windows.permute(0, 5, 1, 3, 2, 4).reshape(-1, self.channels, self.grid, self.grid))
        return coarse, fine, middle


def _tiled_position(stored: Tensor, grid: int, window: int) -> Tensor:
    """The stored embedding [1, 1 + n * n, E] as [grid * grid, E] in the order of windows: class entry dropped, repeated (model/vitdet.py:177-232)."""
    side = round((stored.shape[1] - 1) ** 0.5)
    times = -(-grid // side)
    return in_windows(stored[0, 1:].reshape(side, side, -1).tile(times, times, 1)[:grid, :grid], window).contiguous()


def rotary_tables(trunk: Sam3Vit, grid: int) -> dict[bool, tuple[Tensor, Tensor]]:
    """Cosine and sine [tokens, width / 2] of windowed (False) and global blocks (True), rows of tokens one after another.

    Positions in a global block are shrunk to those of a window, which the trunk was trained with (model/vitdet.py:405-459).
    """
    width = trunk.embed_dim // trunk.num_heads
    return {False: rotary_table(trunk.window_size, width), True: rotary_table(grid, width, trunk.window_size / grid)}


def image_encoder(network: nn.Module, variant: Variant) -> ImageEncoder:
    """The stage, cut from a whole network."""
    decoder = network.sam_mask_decoder
    return ImageEncoder(network.image_encoder, decoder.conv_s0, decoder.conv_s1, variant)

"""The backbones of image encoders, as numbers. The type of `Variant.trunk` says which one a variant has.

`sources` as in `masklet.families`: field -> "file:line" of the official code, empty for masklet's own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class PlainVit:
    """A plain vision transformer with windowed and global blocks, and a neck of one level: EfficientTAM.

    stem                what makes tokens of pixels: one convolution per "patch", or "conv", four of stride 2
    embed_dim, depth, num_heads, mlp_ratio   of its blocks
    window_size         side of a window, tokens
    window_blocks       blocks that attend within windows; the others attend to the whole image
    pretrain_grid       side of the grid of the stored position embedding
    """

    stem: Literal["patch", "conv"]
    embed_dim: int
    depth: int
    num_heads: int
    mlp_ratio: float
    window_size: int
    window_blocks: tuple[int, ...]
    pretrain_grid: int
    sources: Mapping[str, str]


Trunk = PlainVit

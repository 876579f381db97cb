"""The backbones of image encoders, as numbers. The type of `Variant.trunk` says which one a variant has.

`sources` as in `masklet.families`: field -> "file:line" of the official code, empty for masklet's own. `step`: pixels that an image's side is a
multiple of. `max_images`: images in a call of the engine at most; attention scores of one can take gigabytes where a runtime does not fuse attention.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal


@dataclass(frozen=True)
class PlainVit:
    """A plain vision transformer with windowed and global blocks, and a neck of one level: EfficientTAM.

    stem                what makes tokens of pixels: one convolution per "patch", or "conv", four of stride 2
    embed_dim, depth, num_heads, mlp_ratio   of its blocks
    window_size         side of a window, tokens
    window_blocks       blocks that attend within windows; the others attend to the whole image
    pretrain_grid       side of the grid of the stored position embedding
    """

    step: ClassVar[int] = 16
    max_images: ClassVar[int] = 8
    stem: Literal["patch", "conv"]
    embed_dim: int
    depth: int
    num_heads: int
    mlp_ratio: float
    window_size: int
    window_blocks: tuple[int, ...]
    pretrain_grid: int
    sources: Mapping[str, str]


@dataclass(frozen=True)
class Hiera:
    """A hierarchical vision transformer of four stages under a feature pyramid: SAM 2.

    embed_dim, num_heads    of the first stage; each further stage doubles both and halves the map
    stages                  blocks of each stage
    windows                 side of a stage's windows, tokens; the first block of a stage still has the windows of the stage before
    global_blocks           blocks that attend to the whole map
    background              side of the grid of the stored position embedding; windows[0] is the side of the one that repeats in every window
    """

    step: ClassVar[int] = 32
    max_images: ClassVar[int] = 8
    embed_dim: int
    num_heads: int
    stages: tuple[int, int, int, int]
    windows: tuple[int, int, int, int]
    global_blocks: tuple[int, ...]
    background: int
    sources: Mapping[str, str]


@dataclass(frozen=True)
class Sam3Vit:
    """A vision transformer with rotary codes, whose windows tile the image without rest, and a neck of three levels: SAM 3.

    embed_dim, depth, num_heads, mlp_ratio   of its blocks
    window_size         side of a window, tokens
    global_blocks       blocks that attend to the whole image; the others attend within windows
    pretrain_grid       side of the grid of the stored position embedding, which is repeated
    """

    step: ClassVar[int] = 336
    max_images: ClassVar[int] = 1  # 1.7 GB each
    embed_dim: int
    depth: int
    num_heads: int
    mlp_ratio: float
    window_size: int
    global_blocks: tuple[int, ...]
    pretrain_grid: int
    sources: Mapping[str, str]


Trunk = PlainVit | Hiera | Sam3Vit

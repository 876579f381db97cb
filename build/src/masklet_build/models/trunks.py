"""The backbones of image encoders, as numbers. The type says which backbone it is.

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


@dataclass(frozen=True)
class RepViT:
    """A convolutional network in four stages, each of half the size of the one before, and a feature pyramid: EdgeTAM.

    widths              channels of the stages
    depths              blocks of the stages
    mlp_ratio           inner width of a block's channel mixer, in widths
    """

    step: ClassVar[int] = 32
    max_images: ClassVar[int] = 8
    widths: tuple[int, ...]
    depths: tuple[int, ...]
    mlp_ratio: int
    sources: Mapping[str, str]


Trunk = PlainVit | Hiera | Sam3Vit | RepViT

_VITDET = "modeling/backbones/vitdet.py"
_HIERADET = "modeling/backbones/hieradet.py"
_SAM3_BUILDER = "model_builder.py"
_EDGETAM_YAML = "configs/edgetam.yaml"


def _efficienttam(size: str, yaml: str) -> PlainVit:
    embed_dim, num_heads = {"ti": (192, 3), "s": (384, 6)}[size]
    return PlainVit(
        stem="patch",
        embed_dim=embed_dim,
        depth=12,
        num_heads=num_heads,
        mlp_ratio=4.0,
        window_size=14,
        window_blocks=(0, 1, 3, 4, 6, 7, 9, 10),
        pretrain_grid=14,
        sources={
            "stem": f"{_VITDET}:229",
            "embed_dim": f"{yaml}:12",
            "depth": f"{yaml}:13",
            "num_heads": f"{yaml}:14",
            "mlp_ratio": f"{yaml}:15",
            "window_size": f"{yaml}:19",
            "window_blocks": f"{yaml}:20",
            "pretrain_grid": f"{_VITDET}:192",  # 224 pixels of pretraining / patches of 16
        },
    )


def _sam2(size: str, yaml: str) -> Hiera:
    given = {"embed_dim": f"{yaml}:11", "num_heads": f"{yaml}:12", "stages": f"{yaml}:13", "global_blocks": f"{yaml}:14", "background": f"{yaml}:15"}
    default = {"stages": f"{_HIERADET}:181", "windows": f"{_HIERADET}:186", "global_blocks": f"{_HIERADET}:193", "background": f"{_HIERADET}:184"}
    usual = (8, 4, 14, 7)
    match size:
        case "t":
            return Hiera(96, 1, (1, 2, 7, 2), usual, (5, 7, 9), background=7, sources={**default, **given})
        case "s":
            return Hiera(96, 1, (1, 2, 11, 2), usual, (7, 10, 13), background=7, sources={**default, **given})
        case "b+":
            return Hiera(112, 2, (2, 3, 16, 3), usual, (12, 16, 20), background=14, sources={**given, **default})
        case _:
            return Hiera(144, 2, (2, 6, 36, 4), (8, 4, 16, 8), (23, 33, 43), background=7, sources={**given, "windows": f"{yaml}:16"})


# Its convolutional stem keeps edges that a patch of 16 pixels blurs ("Early Convolutions Help Transformers See Better", Xiao et al. 2021).
_NANO = PlainVit("conv", embed_dim=192, depth=6, num_heads=3, mlp_ratio=3.0, window_size=16, window_blocks=(), pretrain_grid=16, sources={})

_SAM3 = Sam3Vit(
    embed_dim=1024,
    depth=32,
    num_heads=16,
    mlp_ratio=4.625,
    window_size=24,
    global_blocks=(7, 15, 23, 31),
    pretrain_grid=24,
    sources={
        "embed_dim": f"{_SAM3_BUILDER}:78",
        "depth": f"{_SAM3_BUILDER}:79",
        "num_heads": f"{_SAM3_BUILDER}:80",
        "mlp_ratio": f"{_SAM3_BUILDER}:81",
        "window_size": f"{_SAM3_BUILDER}:91",
        "global_blocks": f"{_SAM3_BUILDER}:87",
        "pretrain_grid": f"{_SAM3_BUILDER}:76",  # 336 pixels of pretraining / patches of 14
    },
)

_EDGETAM = RepViT(
    widths=(48, 96, 192, 384),
    depths=(2, 2, 14, 2),
    mlp_ratio=2,
    sources={
        "widths": f"{_EDGETAM_YAML}:26",
        "depths": f"{_EDGETAM_YAML}:11",  # the name of a model of timm, where depths and ratio stand: models/repvit.py, repvit_m1
        "mlp_ratio": f"{_EDGETAM_YAML}:11",
    },
)

TRUNKS: Mapping[str, Trunk] = {
    **{
        f"efficienttam_{size}{suffix}".removesuffix("x512"): _efficienttam(size, f"configs/efficienttam/efficienttam_{size}{suffix}.yaml")
        for size in ("ti", "s")
        for suffix in ("_512x512", "", "_1", "_2")
    },
    **{
        f"{family}_{size}": _sam2(size, f"configs/{family}/{family}_hiera_{size}.yaml")
        for family in ("sam2.1", "sam2")
        for size in ("t", "s", "b+", "l")
    },
    "sam3": _SAM3,
    "sam3_newest": _SAM3,
    "edgetam": _EDGETAM,
    "nano": _NANO,
}

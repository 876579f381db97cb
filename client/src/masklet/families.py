"""The model families and variants that masklet serves: behaviour in `Family`, numbers in `Variant`.

Every number of a family or an official variant names the official line that it was read from, in `sources` (field -> "file:line" below the
family's `official` commit), and a test checks that none lacks one; `NANO` is masklet's own. Code never asks for a family by name: what differs
between families is a field here, or lives in an engine.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

MEMORY_WIDTH = 64  # width of a memory: memory_encoder out_dim in every official configuration; a pointer is hidden / 64 memory tokens


@dataclass(frozen=True)
class Family:
    """What a family of trackers does, equal for all its variants.

    official                        repository and commit that `sources` are lines of
    root                            folder in it that the files in `sources` are relative to
    licence                         of code and checkpoints
    weights                         where the official checkpoints lie, a URL that a file name is appended to
    num_memories                    memories that a tracked frame reads besides further conditioning ones: 1 + 6 previous frames
    num_pointers                    object pointers of ordinary frames reach back num_pointers - 1 frames
    max_conditioning                conditioning frames read at most; 0: all of them
    multimask_min_points, multimask_max_points   three masks are decoded, and the best is taken, for so many points
    corrections_condition           a correction of a tracked frame becomes a conditioning frame
    pointer_time                    pointers carry a code of their distance in time
    occlusion_embedding             the memory of an absent object gets an embedding of its own
    binarise_prompts                masks of prompted frames are thresholded before they become memories
    sigmoid_scale, sigmoid_bias     mask = scale * (sigmoid or threshold) + bias, in the memory encoder
    previous_logits_limit           bound of the logits that a repeated prompt sees of the mask before
    no_object_score                 mask logit everywhere where the object is absent
    stability_delta, stability_threshold   when the single mask is replaced by the best of three
    pixel_mean, pixel_std           normalisation of RGB in 0..1
    """

    name: str
    official: str
    root: str
    licence: str
    weights: str
    num_memories: int
    num_pointers: int
    max_conditioning: int
    multimask_min_points: int
    multimask_max_points: int
    corrections_condition: bool
    pointer_time: bool
    occlusion_embedding: bool
    binarise_prompts: bool
    sigmoid_scale: float
    sigmoid_bias: float
    previous_logits_limit: float
    no_object_score: float
    stability_delta: float
    stability_threshold: float
    pixel_mean: tuple[float, float, float]
    pixel_std: tuple[float, float, float]
    sources: Mapping[str, str]


@dataclass(frozen=True)
class Variant:
    """One set of weights and sizes.

    name                name in masklet: commands, configs, artefacts
    checkpoint          file name of the official checkpoint, or of masklet's own
    image_size          side of the square model image, pixels
    stride              pixels per feature, each way
    hidden              width of image features, pointers and prompt tokens
    feed_forward        inner width of the feed-forward layers of memory attention and of the mask decoder's two-way blocks
    stem                what makes tokens of pixels: one convolution per "patch", or "conv", four of stride 2
    embed_dim, depth, num_heads, mlp_ratio, window_size, window_blocks   the ViT trunk
    pretrain_grid       side of the grid of the trunk's stored position embedding
    memory_layers       layers of memory attention
    pooling             cross-attention to memories: "none", or 2x2 pooled keys as "efficient1" (adds ln 4 to logits) or "efficient2"
                        (adds 2 ln 2 to keys)
    high_res            (channels, multiple of the grid) of each high-resolution map that the decoder takes
    """

    name: str
    family: Family
    checkpoint: str
    image_size: int
    stride: int
    hidden: int
    feed_forward: int
    stem: Literal["patch", "conv"]
    embed_dim: int
    depth: int
    num_heads: int
    mlp_ratio: float
    window_size: int
    window_blocks: tuple[int, ...]
    pretrain_grid: int
    memory_layers: int
    pooling: Literal["none", "efficient1", "efficient2"]
    high_res: tuple[tuple[int, int], ...]
    sources: Mapping[str, str]

    @property
    def official(self) -> bool:
        """Whether its numbers are those of an official configuration; else it is masklet's own, and its numbers have no source."""
        return bool(self.sources)

    @property
    def grid(self) -> int:
        """Side of the feature grid."""
        return self.image_size // self.stride

    @property
    def low_size(self) -> int:
        """Side of the low-resolution mask."""
        return 4 * self.grid

    @property
    def memory_tokens(self) -> int:
        """Tokens of one memory."""
        return self.grid * self.grid

    def object_bytes(self, conditioning: int = 1) -> int:
        """Bytes that the server keeps of an object for ever: what the official predictor could still read, and the logits for a correction.

        Memories are bfloat16, pointers and logits float32. One conditioning frame and six ordinary memories, the newest frame's memory and all
        pointers stay; each further conditioning frame adds its memory, pointer and logits.
        """
        memory, pointer, low = self.memory_tokens * MEMORY_WIDTH * 2, self.hidden * 4, self.low_size**2 * 4
        ordinary = self.family.num_memories * memory + self.family.num_pointers * pointer + low
        return ordinary + conditioning * (memory + pointer + low)


_BASE = "modeling/efficienttam_base.py"
_PREDICTOR = "efficienttam_video_predictor.py"
_BUILDER = "build_efficienttam.py"  # overrides of the YAML, applied by default
_TI = "configs/efficienttam/efficienttam_ti.yaml"  # lines 93 to 120 are the same in all eight files

EFFICIENTTAM = Family(
    name="efficienttam",
    official="yformer/EfficientTAM@abcd061ebd3cc6e7527d152d75b890126aaa53f6",
    root="efficient_track_anything",
    licence="Apache-2.0",
    weights="https://huggingface.co/yunyangx/efficient-track-anything/resolve/main/",
    num_memories=7,
    num_pointers=16,
    max_conditioning=0,
    multimask_min_points=0,
    multimask_max_points=1,
    corrections_condition=False,
    pointer_time=False,
    occlusion_embedding=False,
    binarise_prompts=True,
    sigmoid_scale=20.0,
    sigmoid_bias=-10.0,
    previous_logits_limit=32.0,
    no_object_score=-1024.0,
    stability_delta=0.05,
    stability_threshold=0.98,
    pixel_mean=(0.485, 0.456, 0.406),
    pixel_std=(0.229, 0.224, 0.225),
    sources={
        "num_memories": f"{_TI}:91",
        "num_pointers": f"{_BASE}:71",
        "max_conditioning": f"{_BASE}:43",
        "multimask_min_points": f"{_TI}:116",
        "multimask_max_points": f"{_TI}:117",
        "corrections_condition": f"{_PREDICTOR}:39",
        "pointer_time": f"{_TI}:107",
        "occlusion_embedding": f"{_BASE}:96",
        "binarise_prompts": f"{_BUILDER}:125",
        "sigmoid_scale": f"{_TI}:95",
        "sigmoid_bias": f"{_TI}:96",
        "previous_logits_limit": f"{_PREDICTOR}:271",
        "no_object_score": f"{_BASE}:23",
        "stability_delta": f"{_BUILDER}:122",
        "stability_threshold": f"{_BUILDER}:123",
        "pixel_mean": "utils/misc.py:217",
        "pixel_std": "utils/misc.py:218",
    },
)


def _efficienttam(size: str, suffix: str, *, image_size: int = 1024, pooling: Literal["none", "efficient1", "efficient2"] = "none") -> Variant:
    """One of the eight official configurations; `suffix` as in the official file name."""
    yaml = f"configs/efficienttam/efficienttam_{size}{suffix}.yaml"
    vit = "modeling/backbones/vitdet.py"
    embed_dim, num_heads = {"ti": (192, 3), "s": (384, 6)}[size]
    return Variant(
        name=f"efficienttam_{size}{suffix}".removesuffix("x512"),
        family=EFFICIENTTAM,
        checkpoint=f"efficienttam_{size}{suffix}.pt",
        image_size=image_size,
        stride=16,
        hidden=256,
        feed_forward=2048,
        stem="patch",
        embed_dim=embed_dim,
        depth=12,
        num_heads=num_heads,
        mlp_ratio=4.0,
        window_size=14,
        window_blocks=(0, 1, 3, 4, 6, 7, 9, 10),
        pretrain_grid=14,
        memory_layers=4,
        pooling=pooling,
        high_res=(),
        sources={
            "image_size": f"{yaml}:92",
            "stride": f"{yaml}:11",
            "hidden": f"{yaml}:29",
            "feed_forward": f"{yaml}:40",  # and 2048 in the decoder, modeling/efficienttam_base.py:230
            "stem": f"{vit}:229",
            "embed_dim": f"{yaml}:12",
            "depth": f"{yaml}:13",
            "num_heads": f"{yaml}:14",
            "mlp_ratio": f"{yaml}:15",
            "window_size": f"{yaml}:19",
            "window_blocks": f"{yaml}:20",
            "pretrain_grid": f"{vit}:192",  # 224 pixels of pretraining / patches of 16
            "memory_layers": f"{yaml}:64",
            "pooling": f"{yaml}:55",
            "high_res": f"{_BASE}:105",  # forced off, whatever the YAML says
        },
    )


# masklet's own: the family's stages, small enough to be trained on a CPU and to travel with the repository. Its convolutional stem keeps edges that
# a patch of 16 pixels blurs ("Early Convolutions Help Transformers See Better", Xiao et al. 2021).
NANO = Variant(
    name="nano",
    family=EFFICIENTTAM,
    checkpoint="nano.safetensors",
    image_size=256,
    stride=16,
    hidden=128,
    feed_forward=512,
    stem="conv",
    embed_dim=192,
    depth=6,
    num_heads=3,
    mlp_ratio=3.0,
    window_size=16,
    window_blocks=(),
    pretrain_grid=16,
    memory_layers=2,
    pooling="none",
    high_res=(),
    sources={},
)

_OFFICIAL = tuple(
    made
    for size in ("ti", "s")
    for made in (
        _efficienttam(size, "_512x512", image_size=512),
        _efficienttam(size, ""),
        _efficienttam(size, "_1", pooling="efficient1"),
        _efficienttam(size, "_2", pooling="efficient2"),
    )
)

VARIANTS: Mapping[str, Variant] = {variant.name: variant for variant in (*_OFFICIAL, NANO)}


def variant(name: str) -> Variant:
    """The variant of that name; NAME@SIDE is that variant scaled down. Raises ValueError that lists the known names."""
    base, at, side = name.partition("@")
    if base not in VARIANTS or (at and not (side.isascii() and side.isdigit())):
        raise ValueError(f"unknown variant {name!r}. Known: {', '.join(VARIANTS)}.")
    return scaled_down(VARIANTS[base], int(side)) if at else VARIANTS[base]


def scaled_down(base: Variant, image_size: int) -> Variant:
    """The same network at another image size, for tests: no official weights exist for it. Raises ValueError for a size without a whole grid."""
    if image_size <= 0 or image_size % base.stride:
        raise ValueError(f"image size {image_size} of {base.name} is not a multiple of its stride, {base.stride}.")
    return replace(base, name=f"{base.name}@{image_size}", image_size=image_size)

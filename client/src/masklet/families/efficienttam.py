"""EfficientTAM, and `nano`, masklet's own variant of it."""

from __future__ import annotations

from typing import Literal

from masklet.families.definitions import Family, Variant
from masklet.families.trunks import PlainVit

_BASE = "modeling/efficienttam_base.py"
_VIT = "modeling/backbones/vitdet.py"
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
    corrections_read_memory=True,
    soft_masks=False,
    exclusive_prompts=False,
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
        "corrections_read_memory": f"{_BASE}:524",
        "soft_masks": f"{_PREDICTOR}:337",
        "exclusive_prompts": f"{_BASE}:67",
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


def _trunk(size: str, yaml: str) -> PlainVit:
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
            "stem": f"{_VIT}:229",
            "embed_dim": f"{yaml}:12",
            "depth": f"{yaml}:13",
            "num_heads": f"{yaml}:14",
            "mlp_ratio": f"{yaml}:15",
            "window_size": f"{yaml}:19",
            "window_blocks": f"{yaml}:20",
            "pretrain_grid": f"{_VIT}:192",  # 224 pixels of pretraining / patches of 16
        },
    )


def _efficienttam(size: str, suffix: str, *, image_size: int = 1024, pooling: Literal["none", "efficient1", "efficient2"] = "none") -> Variant:
    """One of the eight official configurations; `suffix` as in the official file name."""
    yaml = f"configs/efficienttam/efficienttam_{size}{suffix}.yaml"
    return Variant(
        name=f"efficienttam_{size}{suffix}".removesuffix("x512"),
        family=EFFICIENTTAM,
        checkpoint=f"efficienttam_{size}{suffix}.pt",
        image_size=image_size,
        stride=16,
        hidden=256,
        feed_forward=2048,
        trunk=_trunk(size, yaml),
        memory_layers=4,
        pooling=pooling,
        high_res=(),
        sources={
            "image_size": f"{yaml}:92",
            "stride": f"{yaml}:11",
            "hidden": f"{yaml}:29",
            "feed_forward": f"{yaml}:40",  # and 2048 in the decoder, modeling/efficienttam_base.py:230
            "trunk": f"{yaml}:10",
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
    trunk=PlainVit(
        stem="conv",
        embed_dim=192,
        depth=6,
        num_heads=3,
        mlp_ratio=3.0,
        window_size=16,
        window_blocks=(),
        pretrain_grid=16,
        sources={},
    ),
    memory_layers=2,
    pooling="none",
    high_res=(),
    sources={},
)

VARIANTS = tuple(
    made
    for size in ("ti", "s")
    for made in (
        _efficienttam(size, "_512x512", image_size=512),
        _efficienttam(size, ""),
        _efficienttam(size, "_1", pooling="efficient1"),
        _efficienttam(size, "_2", pooling="efficient2"),
    )
)

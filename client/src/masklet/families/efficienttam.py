"""EfficientTAM, and `nano`, masklet's own variant of it."""

from __future__ import annotations

from typing import Literal

from masklet.families.definitions import Cleaning, Family, Variant

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
    max_conditioning=0,
    corrections_condition=False,
    corrections_read_memory=True,
    soft_masks=False,
    exclusive_prompts=False,
    pointer_time=False,
    occlusion_embedding=False,
    cleaning=Cleaning(
        area=8,
        sprinkles=False,
        prompted=True,
        remembered=False,
        sources={
            "area": f"{_BUILDER}:127",
            "sprinkles": "utils/misc.py:312",
            "prompted": f"{_PREDICTOR}:794",
            "remembered": f"{_PREDICTOR}:788",  # where a tracked frame's memory is, before holes are filled
        },
    ),
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
        "cleaning": f"{_PREDICTOR}:794",
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
    return Variant(
        name=f"efficienttam_{size}{suffix}".removesuffix("x512"),
        family=EFFICIENTTAM,
        checkpoint=f"efficienttam_{size}{suffix}.pt",
        image_size=image_size,
        pooling=pooling,
        sources={
            "image_size": f"{yaml}:92",
            "stride": f"{yaml}:11",
            "hidden": f"{yaml}:29",
            "feed_forward": f"{yaml}:40",  # and 2048 in the decoder, modeling/efficienttam_base.py:230
            "memory_layers": f"{yaml}:64",
            "pooling": f"{yaml}:55",
            "high_res": f"{_BASE}:105",  # forced off, whatever the YAML says
        },
    )


# masklet's own: the family's stages, small enough to be trained on a CPU and to travel with the repository.
NANO = Variant(
    name="nano",
    family=EFFICIENTTAM,
    checkpoint="nano.safetensors",
    image_size=256,
    hidden=128,
    feed_forward=512,
    memory_layers=2,
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

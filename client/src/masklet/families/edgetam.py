"""EdgeTAM: SAM 2 with a small trunk, two layers of memory attention and memories of 512 tokens."""

from __future__ import annotations

from masklet.families.definitions import Cleaning, Family, Perceiver, Variant

_BASE = "modeling/sam2_base.py"
_PREDICTOR = "sam2_video_predictor.py"
_BUILDER = "build_sam.py"  # overrides of the YAML, applied by default
_YAML = "configs/edgetam.yaml"

FAMILY = Family(
    name="edgetam",
    official="facebookresearch/EdgeTAM@9cc44bfe9e16cc374242917b91283c718410ea87",
    root="sam2",
    licence="Apache-2.0",
    weights="https://github.com/facebookresearch/EdgeTAM/raw/main/checkpoints/",
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
            "area": f"{_BUILDER}:122",
            "sprinkles": "utils/misc.py:312",
            "prompted": f"{_PREDICTOR}:960",
            "remembered": f"{_PREDICTOR}:954",  # where a tracked frame's memory is, before holes are filled
        },
    ),
    sources={
        "num_memories": f"{_YAML}:109",
        "num_pointers": f"{_BASE}:67",
        "max_conditioning": f"{_BASE}:39",
        "multimask_min_points": f"{_YAML}:134",
        "multimask_max_points": f"{_YAML}:135",
        "corrections_condition": f"{_PREDICTOR}:33",
        "corrections_read_memory": f"{_BASE}:527",
        "soft_masks": f"{_PREDICTOR}:349",
        "exclusive_prompts": f"{_BASE}:63",
        "pointer_time": f"{_YAML}:125",
        "occlusion_embedding": f"{_BASE}:92",
        "cleaning": f"{_PREDICTOR}:960",
        "binarise_prompts": f"{_BUILDER}:120",
        "sigmoid_scale": f"{_YAML}:112",
        "sigmoid_bias": f"{_YAML}:113",
        "previous_logits_limit": f"{_PREDICTOR}:282",
        "no_object_score": f"{_BASE}:19",
        "stability_delta": f"{_BUILDER}:117",
        "stability_threshold": f"{_BUILDER}:118",
        "pixel_mean": "utils/misc.py:217",
        "pixel_std": "utils/misc.py:218",
    },
)

EDGETAM = Variant(
    name="edgetam",
    family=FAMILY,
    checkpoint="edgetam.pt",
    memory_layers=2,
    high_res=((32, 4), (64, 2)),
    perceiver=Perceiver(
        latents=256,
        window_latents=256,
        layers=2,
        sources={"latents": f"{_YAML}:99", "window_latents": f"{_YAML}:100", "layers": f"{_YAML}:90"},
    ),
    sources={
        "image_size": f"{_YAML}:110",
        "stride": f"{_BASE}:30",
        "hidden": f"{_YAML}:25",
        "feed_forward": f"{_YAML}:37",  # and 2048 in the decoder, modeling/sam2_base.py:233
        "memory_layers": f"{_YAML}:61",
        "pooling": f"{_YAML}:52",  # its class does not pool
        "high_res": "modeling/sam/mask_decoder.py:78",
        "perceiver": f"{_YAML}:89",
    },
)

VARIANTS = (EDGETAM,)

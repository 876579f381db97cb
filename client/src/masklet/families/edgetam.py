"""EdgeTAM: SAM 2 with a small trunk, two layers of memory attention and memories of 512 tokens."""

from __future__ import annotations

from masklet.families.definitions import Family, Perceiver, Variant
from masklet.families.trunks import RepViT

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

_TRUNK = RepViT(
    widths=(48, 96, 192, 384),
    depths=(2, 2, 14, 2),
    mlp_ratio=2,
    sources={
        "widths": f"{_YAML}:26",
        "depths": f"{_YAML}:11",  # the name of a model of timm, where depths and ratio stand: models/repvit.py, repvit_m1
        "mlp_ratio": f"{_YAML}:11",
    },
)

EDGETAM = Variant(
    name="edgetam",
    family=FAMILY,
    checkpoint="edgetam.pt",
    image_size=1024,
    stride=16,
    hidden=256,
    feed_forward=2048,
    trunk=_TRUNK,
    memory_layers=2,
    pooling="none",
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
        "trunk": f"{_YAML}:10",
        "memory_layers": f"{_YAML}:61",
        "pooling": f"{_YAML}:52",  # its class does not pool
        "high_res": "modeling/sam/mask_decoder.py:78",
        "perceiver": f"{_YAML}:89",
    },
)

VARIANTS = (EDGETAM,)

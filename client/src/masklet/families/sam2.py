"""SAM 2 and SAM 2.1. They differ in the time code of pointers and in the memory of absent objects."""

from __future__ import annotations

from masklet.families.definitions import Cleaning, Family, Variant

_BASE = "modeling/sam2_base.py"
_PREDICTOR = "sam2_video_predictor.py"
_BUILDER = "build_sam.py"  # overrides of the YAML, applied by default
_TINY = {"sam2": "configs/sam2/sam2_hiera_t.yaml", "sam2.1": "configs/sam2.1/sam2.1_hiera_t.yaml"}

_NAMES = {"t": "tiny", "s": "small", "b+": "base_plus", "l": "large"}  # in the checkpoints' file names


def _family(name: str, *, folder: str, newer: bool, lines: tuple[str, str, int]) -> Family:
    """`lines`: of pointer_time, of occlusion_embedding, and the first of the two limits of multimask."""
    pointer_time, occlusion, multimask = lines
    return Family(
        name=name,
        official="facebookresearch/sam2@2b90b9f5ceec907a1c18123530e92e794ad901a4",
        root="sam2",
        licence="Apache-2.0",
        weights=f"https://dl.fbaipublicfiles.com/segment_anything_2/{folder}/",
        max_conditioning=0,
        corrections_condition=False,
        corrections_read_memory=True,
        soft_masks=False,
        exclusive_prompts=False,
        pointer_time=newer,
        occlusion_embedding=newer,
        cleaning=Cleaning(
            area=8,
            sprinkles=False,
            prompted=True,
            remembered=False,
            sources={
                "area": f"{_BUILDER}:129",
                "sprinkles": "utils/misc.py:312",
                "prompted": f"{_PREDICTOR}:785",
                "remembered": f"{_PREDICTOR}:779",  # where a tracked frame's memory is, before holes are filled
            },
        ),
        sources={
            "num_memories": f"{_TINY[name]}:87",
            "num_pointers": f"{_BASE}:67",
            "max_conditioning": f"{_BASE}:39",
            "multimask_min_points": f"{_TINY[name]}:{multimask}",
            "multimask_max_points": f"{_TINY[name]}:{multimask + 1}",
            "corrections_condition": f"{_PREDICTOR}:32",
            "corrections_read_memory": f"{_BASE}:522",
            "soft_masks": f"{_PREDICTOR}:328",
            "exclusive_prompts": f"{_BASE}:63",
            "pointer_time": pointer_time,
            "occlusion_embedding": occlusion,
            "cleaning": f"{_PREDICTOR}:785",
            "binarise_prompts": f"{_BUILDER}:127",
            "sigmoid_scale": f"{_TINY[name]}:91",
            "sigmoid_bias": f"{_TINY[name]}:92",
            "previous_logits_limit": f"{_PREDICTOR}:262",
            "no_object_score": f"{_BASE}:19",
            "stability_delta": f"{_BUILDER}:124",
            "stability_threshold": f"{_BUILDER}:125",
            "pixel_mean": "utils/misc.py:217",
            "pixel_std": "utils/misc.py:218",
        },
    )


SAM2 = _family("sam2", folder="072824", newer=False, lines=(f"{_TINY['sam2']}:104", f"{_BASE}:92", 113))
SAM2_1 = _family("sam2.1", folder="092824", newer=True, lines=(f"{_TINY['sam2.1']}:105", f"{_TINY['sam2.1']}:96", 116))


def _variant(family: Family, size: str) -> Variant:
    yaml = f"configs/{family.name}/{family.name}_hiera_{size}.yaml"
    trunk = {"t": 0, "s": 0, "b+": -3, "l": 1}[size]  # lines of the trunk more than in the tiny files
    high_res = (98 if family.pointer_time else 97) + trunk - (size != "t")
    return Variant(
        name=f"{family.name}_{size}",
        family=family,
        checkpoint=f"{family.name}_hiera_{_NAMES[size]}.pt",
        high_res=((32, 4), (64, 2)),
        sources={
            "image_size": f"{yaml}:{88 + trunk}",
            "stride": f"{_BASE}:30",
            "hidden": f"{yaml}:{24 + trunk}",
            "feed_forward": f"{yaml}:{36 + trunk}",  # and 2048 in the decoder, modeling/sam2_base.py:228
            "memory_layers": f"{yaml}:{60 + trunk}",
            "pooling": f"{yaml}:{51 + trunk}",
            "high_res": f"{yaml}:{high_res}",  # its channels: modeling/sam/mask_decoder.py:78-83
        },
    )


VARIANTS = tuple(_variant(family, size) for family in (SAM2_1, SAM2) for size in _NAMES)

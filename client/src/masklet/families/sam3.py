"""SAM 3: its tracker, which follows prompted objects as SAM 2 does, over SAM 3's own image encoder."""

from __future__ import annotations

from dataclasses import replace

from masklet.families.definitions import Cleaning, Family, Selection, Variant

_BASE = "model/sam3_tracker_base.py"
_PREDICTOR = "model/sam3_tracking_predictor.py"
_BUILDER = "model_builder.py"
_VIDEO = "model/sam3_video_base.py"

SAM3 = Family(
    name="sam3",
    official="facebookresearch/sam3@99d02f28c8d34610ab35559b72642b01f10fdb1e",
    root="sam3",
    licence="SAM License",
    weights="https://huggingface.co/facebook/sam3/resolve/main/",
    max_conditioning=4,
    corrections_condition=True,
    corrections_read_memory=False,
    soft_masks=True,
    exclusive_prompts=True,
    pointer_time=True,
    occlusion_embedding=True,
    # Its tracker leaves masks as they are; the video model around it, which adds detections, cleans what was tracked and makes memories of that.
    cleaning=Cleaning(
        area=16,
        sprinkles=True,
        prompted=False,
        remembered=True,
        sources={
            "area": f"{_BUILDER}:736",
            "sprinkles": f"{_VIDEO}:1152",
            "prompted": f"{_BUILDER}:482",
            "remembered": f"{_VIDEO}:760",
        },
    ),
    pixel_mean=(0.5, 0.5, 0.5),
    pixel_std=(0.5, 0.5, 0.5),
    max_prompt_points=16,
    selection=Selection(threshold=0.01, sources={"threshold": f"{_BASE}:73"}),
    sources={
        "num_memories": f"{_BUILDER}:454",
        "num_pointers": f"{_BASE}:65",
        "max_conditioning": f"{_BUILDER}:473",
        "multimask_min_points": f"{_BUILDER}:466",
        "multimask_max_points": f"{_BUILDER}:467",
        "corrections_condition": f"{_PREDICTOR}:54",
        "corrections_read_memory": f"{_PREDICTOR}:189",
        "soft_masks": f"{_PREDICTOR}:371",
        "exclusive_prompts": f"{_PREDICTOR}:618",
        "pointer_time": f"{_BASE}:748",
        "occlusion_embedding": f"{_BASE}:845",
        "cleaning": f"{_VIDEO}:1148",
        "binarise_prompts": f"{_PREDICTOR}:625",
        "sigmoid_scale": f"{_BASE}:115",
        "sigmoid_bias": f"{_BASE}:116",
        "previous_logits_limit": f"{_PREDICTOR}:306",
        "no_object_score": f"{_BASE}:23",
        "stability_delta": f"{_BUILDER}:478",
        "stability_threshold": f"{_BUILDER}:479",
        "pixel_mean": "model/io_utils.py:33",
        "pixel_std": "model/io_utils.py:34",
        "max_prompt_points": f"{_PREDICTOR}:37",
        "selection": f"{_BUILDER}:660",
    },
)

_SAM3 = Variant(
    name="sam3",
    family=SAM3,
    checkpoint="sam3.pt",
    image_size=1008,
    stride=14,
    high_res=((32, 4), (64, 2)),
    sources={
        "image_size": f"{_BUILDER}:453",
        "stride": f"{_BUILDER}:456",
        "hidden": f"{_BUILDER}:416",
        "feed_forward": f"{_BUILDER}:401",  # and 2048 in the decoder, model/sam3_tracker_base.py:197
        "memory_layers": f"{_BUILDER}:420",
        "pooling": f"{_BUILDER}:384",  # plain RoPEAttention
        "high_res": f"{_BASE}:203",
    },
)

# The same network and checkpoint with the memory of SAM 2: the newest frames, however good (official: apply_temporal_disambiguation=False).
_NEWEST = replace(SAM3, selection=None, sources={name: line for name, line in SAM3.sources.items() if name != "selection"})

VARIANTS = (_SAM3, replace(_SAM3, name="sam3_newest", family=_NEWEST))

"""What runs the networks: the engines of a variant."""

from __future__ import annotations

from masklet.contract.tensors import Dim, Model, Tensor
from masklet.families import MEMORY_WIDTH, Variant


def high_res(variant: Variant, lead: tuple[Dim, ...]) -> tuple[Tensor, ...]:
    """The two high-resolution feature maps, for the families whose decoder takes them."""
    return tuple(
        Tensor(f"HIGH_RES_{level}", "FP32", (*lead, channels, f"{scale}G", f"{scale}G"), "high-resolution features")
        for level, (channels, scale) in enumerate(variant.high_res)
    )


def image_encoder(variant: Variant) -> Model:
    """The engine that turns a frame into features; stateless, batched by Triton."""
    return Model(
        "image_encoder",
        inputs=(Tensor("IMAGE", "UINT8", ("S", "S", 3), "frame at model size; normalised inside"),),
        outputs=(Tensor("EMBEDDING", "FP32", ("D", "G", "G"), "image features, without position code"), *high_res(variant, ())),
        batched=True,
    )


_VIDEO = Tensor("VIDEO", "INT32", ("B",), "which row of the V videos each object uses")


def memory_attention(variant: Variant) -> Model:
    """The engine that conditions a frame's features on an object's memories and pointers."""
    distance = (Tensor("DISTANCE", "FP32", ("B", "P"), "frames between each pointer and now, in the direction of travel"),)
    return Model(
        "memory_attention",
        inputs=(
            Tensor("EMBEDDING", "FP32", ("V", "D", "G", "G"), "image features of each video"),
            _VIDEO,
            Tensor("MEMORY", "FP32", ("B", "F", "T", MEMORY_WIDTH), "memories, oldest meaning of slot first"),
            Tensor("SLOT", "INT32", ("B", "F"), "row of the temporal code that each memory gets, 0..6"),
            Tensor("POINTERS", "FP32", ("B", "P", "D"), "object pointers"),
            *(distance if variant.family.pointer_time else ()),
        ),
        outputs=(Tensor("CONDITIONED", "FP32", ("B", "D", "G", "G"), "features conditioned on memory"),),
        batched=False,
    )


# Values of KIND: what the mask decoder's features are, and what it adds to them.
KIND_TRACKED = 0  # conditioned by memory: taken as they are
KIND_CLICK = 1  # the frame's own features, prompted without memory: no_mem_embed is added
KIND_MASK = 2  # the frame's own features beside a mask prompt: nothing is added; only the pointer is decoded


def mask_decoder(variant: Variant) -> Model:
    """The engine that decodes masks: prompt encoder, two-way transformer, choice of mask and pointer, object gating."""
    return Model(
        "mask_decoder",
        inputs=(
            Tensor("FEATURES", "FP32", ("B", "D", "G", "G"), "CONDITIONED, or the frame's EMBEDDING where KIND says so"),
            Tensor("KIND", "INT32", ("B",), "KIND_TRACKED, KIND_CLICK or KIND_MASK"),
            *((_VIDEO, *high_res(variant, ("V",))) if variant.high_res else ()),
            Tensor("POINTS", "FP32", ("B", "N", 2), "x, y in model pixels; ignored where the label is -1"),
            Tensor(
                "LABELS",
                "INT32",
                ("B", "N"),
                "1 on the object, 0 beside it, 2 and 3 corners of a box; -1 the padding token behind every prompt",
            ),
            Tensor("MASK_PROMPT", "FP32", ("B", 1, "L", "L"), "mask logits given as a prompt; ignored where HAS_MASK is 0"),
            Tensor("HAS_MASK", "INT32", ("B",), "1 where MASK_PROMPT counts"),
            Tensor("MULTIMASK", "INT32", ("B",), "1: best of three masks; 0: the single mask, with stability fallback"),
            Tensor("PRESENT", "INT32", ("B",), "KIND_MASK: 1 where the user's mask has a pixel; else ignored"),
        ),
        outputs=(
            Tensor("LOW", "FP32", ("B", "L", "L"), "mask logits, -1024 everywhere where the object is absent"),
            Tensor("IOU", "FP32", ("B",), "predicted IoU of that mask"),
            Tensor("SCORE", "FP32", ("B",), "object presence logit; KIND_MASK: +10 or -10 by PRESENT"),
            Tensor("POINTER", "FP32", ("B", "D"), "object pointer, gated by presence"),
        ),
        batched=False,
    )


def memory_encoder(variant: Variant) -> Model:
    """The engine that turns a frame and an object's mask into a memory."""
    rivals = Tensor("RIVALS", "FP32", ("B", "R", "L", "L"), "mask logits of objects that it must not overlap; -1024 everywhere for none")
    return Model(
        "memory_encoder",
        inputs=(
            Tensor("EMBEDDING", "FP32", ("V", "D", "G", "G"), "image features of each video, not conditioned"),
            _VIDEO,
            Tensor("LOW", "FP32", ("B", "L", "L"), "mask logits"),
            *((Tensor("SCORE", "FP32", ("B",), "object presence logit"),) if variant.family.occlusion_embedding else ()),
            Tensor("BINARISE", "INT32", ("B",), "1: threshold the mask (a user prompted this frame); 0: sigmoid"),
            *((rivals,) if variant.family.exclusive_prompts else ()),
        ),
        outputs=(Tensor("MEMORY", "FP32", ("B", "T", MEMORY_WIDTH), "the memory, not yet rounded to bfloat16"),),
        batched=False,
    )


def mask_prompt(variant: Variant) -> Model:
    """The small engine that prepares a user's mask. Logits of soft masks come from preprocess, which knows the mask at the size of the frame."""
    soft = variant.family.soft_masks
    low = Tensor("LOW", "FP32", ("B", "L", "L"), "the mask as low-resolution logits, -10..10")
    return Model(
        "mask_prompt",
        inputs=(Tensor("MASK", "FP32" if soft else "UINT8", ("B", "M", "M"), "0..1" if soft else "0 or 1"),),
        outputs=(
            Tensor("MASK_PROMPT", "FP32", ("B", 1, "L", "L"), "the learned downsampling of the mask"),
            *(() if soft else (low,)),
            Tensor("PRESENT", "INT32", ("B",), "1 where the mask has a pixel"),
        ),
        batched=False,
    )


def engines(variant: Variant) -> tuple[Model, ...]:
    """The five engines of a variant, in the order in which a frame meets them."""
    return tuple(make(variant) for make in (image_encoder, mask_prompt, memory_attention, mask_decoder, memory_encoder))

"""The models that every variant has, and what the client sees of them."""

from __future__ import annotations

from dataclasses import replace

from masklet.contract.engines import engines, high_res
from masklet.contract.tensors import Model, Tensor
from masklet.families import Variant

# What is done to masks besides what the network does: nothing, or what official code does where it has CUDA (`families.Cleaning`).
POSTPROCESSING = ("none", "official-cuda")


def _in_frames() -> tuple[Tensor, ...]:
    return (
        Tensor("FRAME", "UINT8", ("k",), "RGB frame, its H x W x 3 bytes row by row", optional=True),
        Tensor("FRAME_SIZE", "INT32", (2,), "height and width of FRAME", optional=True),
        Tensor("FRAME_ENCODED", "BYTES", (1,), "the frame as JPEG, PNG or WebP file bytes", optional=True),
        Tensor("PROMPTS", "BYTES", (1,), "JSON list of prompts, [] for none", optional=True),
        Tensor("STATE", "UINT8", ("n",), "snapshot to start from, only with START", optional=True),
    )


TRACKER = Model(
    "tracker",
    inputs=_in_frames(),
    outputs=(
        Tensor("FRAME_INDEX", "INT64", (1,), "index of the answered frame, counted since the video began"),
        Tensor("OBJECT_IDS", "INT64", ("n",), "objects present in this answer, in prompt order"),
        Tensor("MASKS", "UINT8", ("k",), "the masks of all objects, one after another, in the form that parameter `masks` asks for"),
        Tensor("MASK_BYTES", "INT64", ("n",), "how many bytes of MASKS are each object's"),
        Tensor("BOXES", "FP32", ("n", 4), "box of each mask: x0, y0, x1, y1 in frame pixels, ends exclusive; zeros for an empty mask"),
        Tensor("SCORES", "FP32", ("n",), "object presence logit; the object is in the frame if > 0"),
        Tensor("IOUS", "FP32", ("n",), "IoU that the model predicts for its mask, 0..1"),
        Tensor("LOGITS", "FP32", ("n", "L", "L"), "low-resolution mask logits if asked for, else shape [0, L, L]"),
        Tensor("SNAPSHOT", "UINT8", ("k",), "state of the video after this frame if asked for, else empty"),
        Tensor("TIMING", "FP32", (7,), "milliseconds, in the order of TIMING_FIELDS"),
        Tensor("DRAINING", "UINT8", (1,), "1: this server will stop and takes no new videos; move this one while it is answered"),
        Tensor("TOKEN", "UINT8", ("k",), "the id of the request that this answers, as the stages handed it on, in UTF-8"),
    ),
    batched=True,
)

TIMING_FIELDS = (
    "preprocess",
    "image_encoder",  # with the time that the request waited for it
    "memory_attention",
    "mask_decoder",
    "memory_encoder",
    "memory_bank",  # the bank's own time: reading, gathering, copying, calling
    "postprocess",
)


ENVELOPE = Tensor("ENVELOPE", "UINT8", ("k",), "whose request it is and what was asked, signed (see envelope.py)")


def _mask_prompts(variant: Variant) -> tuple[Tensor, ...]:
    """One row per mask prompt, in the order of the envelope's prompts."""
    if not variant.family.soft_masks:
        return (Tensor("PROMPT_MASKS", "UINT8", ("k", "M", "M"), "mask prompts at mask size, 0 or 1"),)
    return (
        Tensor("PROMPT_MASKS", "FP32", ("k", "M", "M"), "mask prompts at mask size, 0..1"),
        Tensor("PROMPT_LOW", "FP32", ("k", "L", "L"), "mask prompts as low-resolution logits"),
    )


def _beside_image(variant: Variant) -> tuple[Tensor, ...]:
    """What preprocess hands to memory_bank."""
    return (ENVELOPE, *_mask_prompts(variant), Tensor("RESTORE", "UINT8", ("k",), "the client's STATE, empty for none"))


def preprocess(variant: Variant) -> Model:
    """The model in front: whatever a client sent becomes fixed tensors."""
    return Model(
        "preprocess",
        inputs=_in_frames(),
        outputs=(
            Tensor("IMAGE", "UINT8", ("S", "S", 3), "the frame at model size, RGB; black where there is no frame"),
            *_beside_image(variant),
        ),
        batched=True,
    )


def escorted(encoder: Model) -> Model:
    """The image encoder where it is a python model: the envelope goes through it, so that nobody's features are taken for another's."""
    return replace(encoder, inputs=(*encoder.inputs, ENVELOPE), outputs=(*encoder.outputs, ENVELOPE))


def memory_bank(variant: Variant) -> Model:
    """The stateful model: one memory bank per object of every live video."""
    return Model(
        "memory_bank",
        inputs=(
            Tensor("EMBEDDING", "FP32", ("D", "G", "G"), "image features, without position code"),
            *high_res(variant, ()),
            *_beside_image(variant),
        ),
        outputs=(
            *(tensor for tensor in TRACKER.outputs if tensor.name in ("FRAME_INDEX", "OBJECT_IDS", "SCORES", "IOUS", "SNAPSHOT", "DRAINING")),
            Tensor("LOW", "FP32", ("n", "L", "L"), "low-resolution mask logits"),
            ENVELOPE,
        ),
        batched=True,
    )


POSTPROCESS = Model(
    "postprocess",
    inputs=(
        Tensor("LOW", "FP32", ("n", "L", "L"), "low-resolution mask logits"),
        ENVELOPE,
        # Not read: where all inputs can be empty, Triton takes a request with a batch of none, and its batcher then stands still for everybody.
        next(tensor for tensor in TRACKER.outputs if tensor.name == "FRAME_INDEX"),
    ),
    outputs=tuple(tensor for tensor in TRACKER.outputs if tensor.name in ("MASKS", "MASK_BYTES", "BOXES", "LOGITS", "TIMING", "TOKEN")),
    batched=True,
)


def models(variant: Variant) -> tuple[Model, ...]:
    """Every model of a variant's Triton repository."""
    return (TRACKER, preprocess(variant), memory_bank(variant), POSTPROCESS, *engines(variant))

"""Every tensor of every masklet model, named once.

The ONNX export, the Triton configs, the memory bank's calls, the client's requests and the tests all read this table.
`config.pbtxt` files repeat it for Triton; a test compares the two.

Dimensions are integers or symbols. A symbol that a variant fixes is replaced by `resolve`; the others stay free:

    S    side of the square model image            V    videos in an engine call
    G    side of the feature grid (S / stride)     B    objects in an engine call
    L    side of the low-resolution mask (4 G)     F    remembered frames per object
    M    side of a user's mask (16 G)              P    object pointers per object
    T    tokens of one memory                      N    prompt tokens per object
    D    width of features and pointers            R    rivals per object
    n m k   counts that differ from request to request (zero allowed)

A tensor has at most one free dimension: with two, a shape such as 0 x 2^62 passes Triton, and ends the python process that makes an array of it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from masklet.families import MEMORY_WIDTH, Variant

CONTRACT_VERSION = 3

Dim = int | str

# Triton data type -> numpy dtype. BYTES tensors hold one bytes object per element; only what a client sends to `tracker` or `preprocess` may be such.
NUMPY_DTYPES: dict[str, np.dtype[Any]] = {
    "UINT8": np.dtype(np.uint8),
    "INT32": np.dtype(np.int32),
    "INT64": np.dtype(np.int64),
    "FP32": np.dtype(np.float32),
    "FP64": np.dtype(np.float64),
    "BYTES": np.dtype(np.object_),
}


@dataclass(frozen=True)
class Tensor:
    """One tensor: its name on the wire, Triton data type, dimensions and meaning."""

    name: str
    dtype: str
    dims: tuple[Dim, ...]
    about: str
    optional: bool = False

    @property
    def numpy_dtype(self) -> np.dtype[Any]:
        """The numpy dtype of `dtype`."""
        return NUMPY_DTYPES[self.dtype]


@dataclass(frozen=True)
class Model:
    """One Triton model: inputs and outputs in order.

    `batched`: Triton adds a batch dimension in front of `dims` (max_batch_size > 0). Engines that the bank calls have none: their
    leading dimensions V and B are explicit, because one call mixes tensors that lead with videos and tensors that lead with objects.
    """

    name: str
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    batched: bool


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
        Tensor("LOGITS", "FP32", ("n", "L", "L"), "low-resolution mask logits if asked for, else shape [0, 0, 0]"),
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


def _high_res(variant: Variant, lead: tuple[Dim, ...]) -> tuple[Tensor, ...]:
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
        outputs=(Tensor("EMBEDDING", "FP32", ("D", "G", "G"), "image features, without position code"), *_high_res(variant, ())),
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
            *_high_res(variant, ()),
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
            *((_VIDEO, *_high_res(variant, ("V",))) if variant.high_res else ()),
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


def models(variant: Variant) -> tuple[Model, ...]:
    """Every model of a variant's Triton repository."""
    return (TRACKER, preprocess(variant), memory_bank(variant), POSTPROCESS, *engines(variant))


def resolve(dims: tuple[Dim, ...], variant: Variant) -> tuple[Dim, ...]:
    """Replaces the symbols that the variant fixes (S, G, 2G, 4G, L, M, T, D) by their sizes; free symbols stay."""
    grid = variant.grid
    sizes = {
        "S": variant.image_size,
        "G": grid,
        "2G": 2 * grid,
        "4G": 4 * grid,
        "L": variant.low_size,
        "M": variant.mask_size,
        "T": variant.memory_tokens,
        "D": variant.hidden,
    }
    return tuple(sizes.get(dim, dim) if isinstance(dim, str) else dim for dim in dims)

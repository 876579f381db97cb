"""What a family does, `Family`, and the numbers of one set of weights, `Variant`."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

MEMORY_WIDTH = 64  # width of a memory: memory_encoder out_dim in every official configuration; a pointer is hidden / 64 memory tokens
MASK_STRIDE = 16  # mask pixels per feature, each way, in the memory encoder: mask_downsampler total_stride in every official configuration
LOW_STRIDE = 4  # low-resolution mask pixels per feature, each way: the decoder doubles twice in every official configuration

SCORE_BYTES = 256 << 20  # of attention scores that may stand in memory at once, for a runtime that does not fuse attention


@dataclass(frozen=True)
class Selection:
    """Which tracked frames are remembered: the newest whose masks are good, instead of simply the newest.

    threshold   of a mask's quality, 0..1: predicted IoU, weighted by how surely the object is there
    """

    threshold: float
    sources: Mapping[str, str]


@dataclass(frozen=True)
class Cleaning:
    """What official code does on a GPU, and leaves undone on a CPU, to small connected components of a low-resolution mask; a server may do it too.

    area        holes of so many pixels at most are filled
    sprinkles   parts of the mask of so many pixels at most, and of half the mask at most, are removed, once holes are filled
    prompted    masks of prompted frames are cleaned as well, and their memories are made of that
    remembered  the memory of a tracked frame is made of the cleaned mask; else of the one that was decoded
    """

    area: int
    sprinkles: bool
    prompted: bool
    remembered: bool
    sources: Mapping[str, str]


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
    corrections_read_memory         a correction of a tracked frame sees its memories; else it is decoded like a first prompt
    cleaning                        what is done to masks where a server is asked for all that official code does on a GPU
    exclusive_prompts               objects prompted on one frame do not overlap in their memories of it
    max_prompt_points               of more points the first and the last half are taken; None: all are
    soft_masks                      a user's mask keeps the grey borders that resizing gives it; else it is thresholded
    selection                       which tracked frames are remembered; None: the newest
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
    max_conditioning: int
    corrections_condition: bool
    corrections_read_memory: bool
    soft_masks: bool
    exclusive_prompts: bool
    pointer_time: bool
    occlusion_embedding: bool
    cleaning: Cleaning
    sources: Mapping[str, str]
    # What the official configurations have in common, each at a line of its own:
    num_memories: int = 7
    num_pointers: int = 16
    multimask_min_points: int = 0
    multimask_max_points: int = 1
    max_prompt_points: int | None = None
    binarise_prompts: bool = True
    sigmoid_scale: float = 20.0
    sigmoid_bias: float = -10.0
    previous_logits_limit: float = 32.0
    no_object_score: float = -1024.0
    stability_delta: float = 0.05
    stability_threshold: float = 0.98
    pixel_mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    pixel_std: tuple[float, float, float] = (0.229, 0.224, 0.225)
    selection: Selection | None = None


@dataclass(frozen=True)
class Perceiver:
    """What compresses a memory to a fixed number of tokens.

    latents             tokens that look at the whole memory
    window_latents      tokens that look at one window each; a square number
    layers              of it
    """

    latents: int
    window_latents: int
    layers: int
    sources: Mapping[str, str]

    @property
    def windows(self) -> int:
        """Windows each way."""
        return math.isqrt(self.window_latents)


@dataclass(frozen=True)
class Variant:
    """One set of weights and sizes.

    name                name in masklet: commands, configs, artefacts
    checkpoint          file name of the official checkpoint, or of masklet's own
    image_size          side of the square model image, pixels
    stride              pixels per feature, each way
    hidden              width of image features, pointers and prompt tokens
    feed_forward        inner width of the feed-forward layers of memory attention and of the mask decoder's two-way blocks
    memory_layers       layers of memory attention
    pooling             cross-attention to memories: "none", or 2x2 pooled keys as "efficient1" (adds ln 4 to logits) or "efficient2"
                        (adds 2 ln 2 to keys)
    high_res            (channels, multiple of the grid) of each high-resolution map that the decoder takes
    perceiver           what compresses memories; None: a memory has one token per feature
    """

    name: str
    family: Family
    checkpoint: str
    sources: Mapping[str, str]
    image_size: int = 1024
    stride: int = 16
    hidden: int = 256
    feed_forward: int = 2048
    memory_layers: int = 4
    pooling: Literal["none", "efficient1", "efficient2"] = "none"
    high_res: tuple[tuple[int, int], ...] = ()
    perceiver: Perceiver | None = None

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
        return LOW_STRIDE * self.grid

    @property
    def mask_size(self) -> int:
        """Side of the masks that the network takes: a user's, and those that become memories."""
        return MASK_STRIDE * self.grid

    @property
    def memory_tokens(self) -> int:
        """Tokens of one memory."""
        return self.grid * self.grid if self.perceiver is None else self.perceiver.latents + self.perceiver.window_latents

    @property
    def max_objects(self) -> int:
        """Objects in a call of an engine at most: the attention scores of late frames, float32, stay below SCORE_BYTES, or one object is alone."""
        keys = max(self.grid**2, self.memory_tokens * self.family.num_memories)  # of self-attention, of attention to memories
        scores = self.grid**2 * keys * 4
        return max(1, SCORE_BYTES // scores)

    def slot_bytes(self, memories: int, pointers: int) -> int:
        """Bytes of so many memories, bfloat16, and so many pointers, float32: what the official predictor reads of an object."""
        return memories * self.memory_tokens * MEMORY_WIDTH * 2 + pointers * self.hidden * 4

    def object_bytes(self, conditioning: int = 1) -> int:
        """Bytes that the server keeps of an object for ever: what the official predictor could still read, and the logits for a correction.

        One conditioning frame and six ordinary memories, the newest frame's memory and all pointers stay, and the newest frame's logits, float32;
        each further conditioning frame adds its memory, pointer and logits.
        """
        slots = self.slot_bytes(self.family.num_memories + conditioning, self.family.num_pointers + conditioning)
        return slots + (1 + conditioning) * self.low_size**2 * 4

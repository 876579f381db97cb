"""Request parameters: unknown ones, wrong types and values, and Triton's own."""

from __future__ import annotations

import random

from benchmarks.fuzz.kinds.frames import picture
from benchmarks.fuzz.messages import Content
from benchmarks.fuzz.registry import World, kind

_NAMES = ("masks", "logits", "snapshot", "refine", "track", "frame_index", "reverse", "owner")
_VALUES = (
    True,
    False,
    0,
    1,
    -1,
    3,
    2**62,
    2**63 - 1,
    -(2**63),
    0.5,
    float("nan"),
    float("inf"),
    "",
    "rle",
    "bitmap",
    "png",
    "none",
    "true",
    "x" * 129,
    "é" * 64,
)


def given(**parameters: object) -> Content:
    """A request with a small frame and these parameters."""
    return Content({"FRAME": picture(), "PROMPTS": b"[]"}, parameters)


@kind("content", 3)
def wrong_values(rng: random.Random, world: World) -> Content:
    return given(**{name: rng.choice(_VALUES) for name in rng.sample(_NAMES, rng.randint(1, 3))})


@kind("content", 1)
def unknown_names(rng: random.Random, world: World) -> Content:
    return given(**{rng.choice(["colour", "", "Masks", "owner\x00", "x" * 1000, "token", "ENVELOPE", "__class__"]): rng.choice(_VALUES)})


@kind("content", 0.5)
def many_parameters(rng: random.Random, world: World) -> Content:
    return given(**{f"p{number}": number for number in range(rng.choice([100, 5000]))})


@kind("content", 1)
def long_owner(rng: random.Random, world: World) -> Content:
    return given(owner="x" * rng.choice([1, 128, 129, 10_000, 1_000_000]))


@kind("content", 1)
def indices(rng: random.Random, world: World) -> Content:
    return given(frame_index=rng.choice([0, 1, 2, 100, 2**31, 2**53, 2**63 - 1, -1]), reverse=rng.random() < 0.5, track=rng.random() < 0.5)


@kind("content", 0.5)
def of_triton(rng: random.Random, world: World) -> Content:
    """Names that Triton reads itself."""
    name = rng.choice(["priority", "timeout", "binary_data_output", "triton_enable_empty_final_response", "classification", "shared_memory_region"])
    return given(**{name: rng.choice([0, 1, 2**62, "x", True, -1])})

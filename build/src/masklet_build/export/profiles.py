"""Which shapes TensorRT engines are built for: every call that a server may make, in narrow ranges or in wide ones.

TensorRT tunes an engine for one shape per optimisation profile and promises a range around it; its working memory is that of the largest shape. So
one wide profile is slow and large, or cannot be built at all, and a call that no profile holds fails. TensorRT for RTX makes its kernels for the
shapes that come when the engine runs, so there ranges are wide. The table below is the only place where ranges are made: plans are built by it,
Triton's configs list it, and tests compare it with what the memory bank calls.

What a call may have, in the symbols of `masklet.contract`:

    V    1 .. videos in image_encoder, as Triton batches; 1 .. B in the engines that the bank calls
    B    1 .. objects
    F    1 .. num_memories - 1 + conditioning: prompted frames, and the ordinary ones that the family reads besides
    P    1 .. num_pointers - 1 + conditioning, as F. It does not follow from F: a video that leaves frames out has pointers without memories
    N    2 .. points + 1: a padding token ends every prompt, and a frame without points has two
    R    1 .. objects_per_video - 1
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from masklet.contract import Model, engines, resolve
from masklet.families import Variant
from masklet_build.embedded.shapes import Shapes, holds, nearest
from masklet_build.models.variants import trunk_of

# Ranges of the batch grow by this: 1 | 2..4 | 5..16. Finer steps would double the time of building; a TensorRT kernel tuned for 8 rows serves 5 well.
_GROWTH = 4
# Attention with one head and a batch that is always 1 is fused only from so many pairs of queries and keys on (seen in TensorRT for RTX 1.7); where
# the batch may also be 2, at any size. So in every precision, though fp32 is hardly ever fused: one table, and fp32 is there to compare with.
_FUSED_ALONE = 2**24
_START = 4  # memories and pointers on the fourth frame after the first prompt: the middle of what a young video reads


class Range(NamedTuple):
    """From `min` to `max`, tuned for `opt`."""

    min: int
    opt: int
    max: int

    def __str__(self) -> str:
        return f"{self.min}" if self.min == self.max else f"{self.min}..{self.max}"


class NoProfile(Exception):
    """A call has a shape that the engine was not built for."""


@dataclass(frozen=True)
class Limits:
    """What a server may ask of one call. The defaults are those of the configs in model_repository/; a test compares them.

    videos              frames, of different videos, in a call of image_encoder: its max_batch_size
    objects             objects in a call of another engine: memory_bank's max_engine_batch
    conditioning        prompted frames kept per object, at least 2: max_conditioning. A family may keep fewer
    points              points per object and frame: max_points. A family may take fewer
    objects_per_video   memory_bank's max_objects
    """

    videos: int = 8
    objects: int = 8
    conditioning: int = 8
    points: int = 64
    objects_per_video: int = 48

    def __post_init__(self) -> None:
        for name, least in (("videos", 1), ("objects", 1), ("conditioning", 2), ("points", 2), ("objects_per_video", 1)):
            if getattr(self, name) < least:
                raise ValueError(f"{name} is {getattr(self, name)}; engines are built for at least {least}.")

    @classmethod
    def of(cls, variant: Variant, *, videos: int | None = None, objects: int | None = None) -> Limits:
        """The limits that a variant is served with; `videos` and `objects` where they are given. Raises ValueError."""
        videos = min(cls.videos, trunk_of(variant).max_images) if videos is None else videos
        return cls(videos, min(cls.objects, variant.max_objects) if objects is None else objects)


@dataclass(frozen=True)
class Profile:
    """One optimisation profile of an engine.

    name     what it is for, such as "steady b1"; unique within the engine
    sizes    free symbol of masklet.contract -> range
    inputs   input -> its shapes; all inputs of the engine, static ones too
    """

    name: str
    sizes: Mapping[str, Range]
    inputs: Mapping[str, Shapes]

    def holds(self, shapes: Mapping[str, Sequence[int]]) -> bool:
        """Whether a call of these input shapes lies within."""
        return holds(self.inputs, shapes)


def profiles(variant: Variant, limits: Limits, *, wide: bool = False) -> dict[str, tuple[Profile, ...]]:
    """Engine -> its profiles, in the order of their TensorRT indices. wide: one that holds all of them, tuned for one object that is tracked; of
    memory attention a second one for several prompted frames, since working memory follows the memories that a profile allows."""
    table = [(model, _BUCKETS[model.name](variant, limits)) for model in engines(variant)]
    return {model.name: tuple(_profile(*row, model, variant) for row in (_widened(rows) if wide else rows)) for model, rows in table}


def steady(variant: Variant) -> dict[str, dict[str, tuple[int, ...]]]:
    """Engine -> input shapes of its calls for a video with one object that is only tracked, once it lives for a while: every frame has the same."""
    sizes = {"V": _fixed(1), "B": _fixed(1), "N": _fixed(2), "R": _fixed(1), **_reading(variant)}
    called = (model for model in engines(variant) if model.name != "mask_prompt")
    return {model.name: {name: shapes.opt for name, shapes in _profile("", sizes, model, variant).inputs.items()} for model in called}


def choose(table: Sequence[Profile], shapes: Mapping[str, Sequence[int]]) -> int:
    """Index of the profile for a call (see embedded/shapes.py). Raises NoProfile."""
    index = nearest([profile.inputs for profile in table], shapes)
    if index is None:
        call = ", ".join(f"{name} {list(shape)}" for name, shape in shapes.items())
        known = "; ".join(" ".join((f"{profile.name}:", *(f"{name} {span}" for name, span in profile.sizes.items()))) for profile in table)
        raise NoProfile(f"no profile holds a call of {call}. Profiles: {known}. Build plans for larger calls: masklet-build engine --help")
    return index


def _profile(name: str, sizes: Mapping[str, Range], model: Model, variant: Variant) -> Profile:
    """A profile of the inputs of one engine; symbols that none of them has are left out."""
    inputs: dict[str, Shapes] = {}
    used: set[str] = set()
    for tensor in model.inputs:
        dims = (*(("V",) if model.batched else ()), *resolve(tensor.dims, variant))
        used.update(dim for dim in dims if isinstance(dim, str))
        inputs[tensor.name] = Shapes(*(tuple(sizes[dim][part] if isinstance(dim, str) else dim for dim in dims) for part in range(3)))
    return Profile(name, {symbol: sizes[symbol] for symbol in sizes if symbol in used}, inputs)


Buckets = Iterator[tuple[str, dict[str, Range]]]


def _fixed(size: int) -> Range:
    return Range(size, size, size)


def _widened(buckets: Buckets) -> Buckets:
    """One bucket around all, or around those for several prompted frames and around the others, each tuned as the first in it."""
    groups: dict[str, list[dict[str, Range]]] = {}
    for name, sizes in buckets:
        groups.setdefault("any" if "F" not in sizes else "prompted" if name.startswith("prompted") else "tracked", []).append(sizes)
    for name, rows in groups.items():
        spans = {symbol: [row[symbol] for row in rows] for symbol in rows[0]}
        yield name, {symbol: Range(min(span).min, span[0].opt, max(one.max for one in span)) for symbol, span in spans.items()}


def _batches(most: int, first: int = 1) -> Iterator[tuple[str, Range]]:
    """Ranges that together hold 1 .. most: the first, up to `first`, is tuned for 1, the others for their upper ends, since a busy bank cuts groups
    at the limit, so most batches are full."""
    yield ("b1" if first == 1 else f"b1-{first}"), Range(1, 1, first)
    least, upper = first + 1, _GROWTH
    while least <= most:
        upper = min(upper, most)
        yield (f"b{least}" if least == upper else f"b{least}-{upper}"), Range(least, upper, upper)
        least, upper = upper + 1, upper * _GROWTH


def _objects(limits: Limits, first: int = 1) -> Buckets:
    """Batches of objects. They may all be of one video; tuned for one object per video, which is the most to read."""
    for name, batch in _batches(limits.objects, first):
        yield name, {"V": Range(1, batch.opt, batch.max), "B": batch}


def _first(variant: Variant) -> int:
    """Up to which batch the first range reaches where attention has one head: 2, even where no server asks that, but for those fused at 1."""
    keys = min(variant.grid**2, variant.memory_tokens * variant.family.num_memories)  # of attention to itself, to memories
    return 1 if variant.grid**2 * keys >= _FUSED_ALONE else 2


def _reading(variant: Variant) -> dict[str, Range]:
    """Memories and pointers of a steady video. Where the family selects, its list's oldest frame gives no pointer (sam3_tracker_base.py:723)."""
    return {"F": _fixed(variant.family.num_memories), "P": _fixed(variant.family.num_pointers - (variant.family.selection is not None))}


def _few(limits: Limits, objects: int) -> dict[str, Range]:
    """Any batch, tuned for so many objects of one video: for calls that are rare."""
    return {"V": Range(1, 1, limits.objects), "B": Range(1, min(objects, limits.objects), limits.objects)}


def _image_encoder(variant: Variant, limits: Limits) -> Buckets:
    for name, batch in _batches(limits.videos):
        yield name, {"V": batch}


def _mask_prompt(variant: Variant, limits: Limits) -> Buckets:
    """A user's masks: rare and cheap, so one profile."""
    yield "any", {"B": _few(limits, 1)["B"]}


def _memory_attention(variant: Variant, limits: Limits) -> Buckets:
    """steady: nearly all frames of a live video with one prompted frame, static but for the batch. start: the frames before that, and videos with
    gaps. prompted: several prompted frames; tuned for two. Pointers keep wide ranges: one is 4 keys or 2, a memory is 256 to 5184."""
    family = variant.family
    conditioning = min(limits.conditioning, family.max_conditioning or limits.conditioning)
    memories, most = family.num_memories, family.num_pointers - 1 + conditioning
    ranges = {
        "steady": _reading(variant),
        "start": {"F": Range(1, min(_START, memories), memories), "P": Range(1, min(_START, most), most)},
        "prompted": {"F": Range(memories + 1, memories + 1, memories - 1 + conditioning), "P": Range(1, _reading(variant)["P"].opt + 1, most)},
    }
    for kind, reading in ranges.items():
        for name, batch in _objects(limits, _first(variant)):
            yield f"{kind} {name}", {**batch, **reading}


def _mask_decoder(variant: Variant, limits: Limits) -> Buckets:
    """tracked: no points, or one; both are two tokens. prompted: a box, or more points."""
    for name, batch in _objects(limits):
        yield f"tracked {name}", {**batch, "N": _fixed(2)}
    most = min(limits.points, variant.family.max_prompt_points or limits.points) + 1
    yield "prompted", {**_few(limits, 1), "N": Range(3, 3, most)}


def _memory_encoder(variant: Variant, limits: Limits) -> Buckets:
    """alone: one map of rivals, empty for a tracked frame. rivals: objects prompted on one frame together. Only a perceiver has attention."""
    for name, batch in _objects(limits, _first(variant) if variant.perceiver else 1):
        yield (f"alone {name}" if variant.family.exclusive_prompts else name), {**batch, "R": _fixed(1)}
    most = limits.objects_per_video - 1
    if variant.family.exclusive_prompts and most > 1:
        yield "rivals", {**_few(limits, 3), "R": Range(2, 2, most)}


_BUCKETS: Mapping[str, Callable[[Variant, Limits], Buckets]] = {
    "image_encoder": _image_encoder,
    "mask_prompt": _mask_prompt,
    "memory_attention": _memory_attention,
    "mask_decoder": _mask_decoder,
    "memory_encoder": _memory_encoder,
}

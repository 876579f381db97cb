"""Which of an engine's optimisation profiles a call runs in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple


class Shapes(NamedTuple):
    """The smallest, the tuned and the largest shape of an input, as TensorRT's `IOptimizationProfile.set_shape` takes them."""

    min: tuple[int, ...]
    opt: tuple[int, ...]
    max: tuple[int, ...]


Inputs = Mapping[str, Shapes]  # of one profile: all inputs of the engine, static ones too
Call = Mapping[str, Sequence[int]]  # input -> shape


def nearest(table: Sequence[Inputs], call: Call) -> int | None:
    """Index of the profile for a call, by the rule of Triton's tensorrt backend: of those that hold it the one tuned for the nearest shape, the first
    of several. None: none holds it."""
    fitting = [index for index, inputs in enumerate(table) if holds(inputs, call)]
    return min(fitting, key=lambda index: (distance(table[index], call), index), default=None)


def holds(inputs: Inputs, call: Call) -> bool:
    """Whether a call lies within a profile."""
    return all(_within(shapes, call[name]) for name, shapes in inputs.items())


def _within(shapes: Shapes, shape: Sequence[int]) -> bool:
    return len(shape) == len(shapes.opt) and all(least <= size <= most for least, size, most in zip(shapes.min, shape, shapes.max, strict=True))


def distance(inputs: Inputs, call: Call) -> int:
    """How far a call is from what a profile is tuned for: sum of differences over all dimensions."""
    return sum(abs(size - tuned) for name, shapes in inputs.items() for size, tuned in zip(call[name], shapes.opt, strict=True))

"""Random inputs of the engines, as far as chance allows like those of real frames: for parity checks and benchmarks."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from masklet.contract import Model, Tensor, engines, resolve
from masklet.families import Variant
from masklet_build.models.variants import trunk_of


@dataclass(frozen=True)
class Sizes:
    """The free dimensions of one engine call: videos, objects, remembered frames, pointers, prompt tokens, rivals."""

    V: int = 1
    B: int = 1
    F: int = 1
    P: int = 1
    N: int = 2
    R: int = 1


def fitting_sizes(wanted: Sequence[Sizes], model: Model, variant: Variant) -> Iterable[Sizes]:
    """The sizes wanted, each once as far as the model differs by them, and no larger than calls of this variant get."""
    if model.batched:
        return dict.fromkeys(Sizes(V=min(sizes.V, trunk_of(variant).max_images)) for sizes in wanted)
    return dict.fromkeys(replace(sizes, B=min(sizes.B, variant.max_objects)) for sizes in wanted)


def sample_inputs(engine_name: str, variant: Variant, sizes: Sizes, seed: int) -> dict[str, np.ndarray]:
    """Inputs of one call by name, dtypes and shapes of the contract. The image encoder's have a leading V."""
    model = next(model for model in engines(variant) if model.name == engine_name)
    random = np.random.default_rng([seed, sizes.V, sizes.B, sizes.F, sizes.P, sizes.N, *([sizes.R] if sizes.R > 1 else [])])
    inputs = {}
    for tensor in model.inputs:
        dims = (*(("V",) if model.batched else ()), *resolve(tensor.dims, variant))
        shape = tuple(getattr(sizes, dim) if isinstance(dim, str) else dim for dim in dims)
        inputs[tensor.name] = _values(tensor, shape, variant, sizes, random).astype(tensor.numpy_dtype)
    return inputs


def _values(tensor: Tensor, shape: tuple[int, ...], variant: Variant, sizes: Sizes, random: np.random.Generator) -> np.ndarray:
    name = tensor.name
    if name == "IMAGE":
        return random.integers(0, 256, shape)
    if name == "MASK":
        return np.clip(_blob(shape, random), 0, 1) if tensor.dtype == "FP32" else _blob(shape, random) > 0
    if name in ("LOW", "MASK_PROMPT", "RIVALS"):
        # Of every three multiples of 1/16 one, and of rivals another. Upsampling by 4 weighs them with 64ths, by 3.5 with 196ths; no such mean, nor
        # the difference of two, is 0 or near it, so no rounding decides whether a pixel is above the threshold, or whose it is.
        return (3 * np.round(_blob(shape, random) * 2 * 16) + (2 if name == "RIVALS" else 1)) / 16
    if name == "POINTS":
        return random.uniform(0, variant.image_size, shape)
    if name == "LABELS":
        labels = random.integers(0, 4, shape)
        labels[:, -1] = -1
        return labels
    limits = {"VIDEO": sizes.V, "SLOT": variant.family.num_memories, "KIND": 3}
    if tensor.dtype == "INT32":
        return random.integers(0, limits.get(name, 2), shape)
    return random.standard_normal(shape)


def _blob(shape: tuple[int, ...], random: np.random.Generator) -> np.ndarray:
    """Smooth maps [..., n, n] of mean 0 and deviation about 1, with a few regions above 0."""
    coarse = random.standard_normal((*shape[:-2], 6, 6))
    place = np.linspace(0, 5, shape[-1])
    hat = np.maximum(0, 1 - np.abs(place[:, None] - np.arange(6)))
    return 1.5 * (hat @ coarse @ hat.T)

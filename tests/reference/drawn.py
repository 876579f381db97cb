"""Weights and inputs that a seed gives, for numbers that official code printed: shared by what printed them and by the test that compares.

Nothing of masklet's own decides a value here, so a change of masklet cannot change what the numbers belong to.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Mapping

import numpy as np

SEED = 5
VIDEO_FRAMES, POINTERS = 2, 3  # memories and pointers that memory attention reads


def noise(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """Standard normal float32 values that belong to a name."""
    generator = np.random.Generator(np.random.PCG64(zlib.crc32(f"{SEED}/{name}".encode())))
    return generator.standard_normal(shape, dtype=np.float32)


def weights(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, np.ndarray]:
    """A state dict: norms near 1, biases near 0, weights by their fan-in; objects are present."""
    return {name: _weight(name, shape) for name, shape in shapes.items()}


def _weight(name: str, shape: tuple[int, ...]) -> np.ndarray:
    if name == "sam_mask_decoder.pred_obj_score_head.layers.2.bias":
        return np.full(shape, 10, np.float32)
    if name.endswith("bias"):
        return np.float32(0.05) * noise(name, shape)
    if len(shape) == 1:
        return 1 + np.float32(0.1) * noise(name, shape)
    tables = ("_embed", "pos_embed_window", "_enc", "_ptr", "_spatial", "gaussian_matrix", "embed.weight", "token.weight", "tokens.weight")
    fan_in = 1 if name.endswith(tables) or "point_embeddings" in name else math.prod(shape[1:])
    return np.float32(1 / math.sqrt(fan_in)) * noise(name, shape)


def inputs(grid: int, stride: int) -> dict[str, np.ndarray]:
    """What the stages get, for one object of one video: names of masklet.contract, without leading dimensions."""
    low, side = 4 * grid, stride * grid
    return {
        "IMAGE": np.random.default_rng(SEED).integers(0, 256, (side, side, 3), dtype=np.uint8),
        "EMBEDDING": noise("EMBEDDING", (256, grid, grid)),
        "HIGH_RES_0": noise("HIGH_RES_0", (32, 4 * grid, 4 * grid)),
        "HIGH_RES_1": noise("HIGH_RES_1", (64, 2 * grid, 2 * grid)),
        "MEMORY": noise("MEMORY", (VIDEO_FRAMES, grid * grid, 64)),
        "SLOT": np.array([6, 2], np.int32),
        "POINTERS": noise("POINTERS", (POINTERS, 256)),
        "DISTANCE": np.array([40, 1, 2], np.float32),
        "POINTS": np.array([[0.3 * side, 0.6 * side], [0.7 * side, 0.2 * side]], np.float32),
        "LABELS": np.array([1, 0], np.int32),
        "LOW": np.round(16 * noise("LOW", (low, low))) / 16,  # multiples of 1/16: no rounding decides what lies above a threshold
    }


def sampled(values: np.ndarray) -> list[float]:
    """Sixteen values spread over an array, or all of a smaller one."""
    flat = np.asarray(values, np.float32).ravel()
    return [float(value) for value in flat[:: max(1, len(flat) // 16)][:16]]

"""Clips that are drawn, so that every frame and every clip differs from every other."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image


def clip(count: int, height: int = 48, width: int = 64, seed: int = 0) -> list[np.ndarray]:
    """Frames (height, width, 3) uint8: two discs that move over a noisy slope."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    slope = np.stack([160 * x / width, 160 * y / height, 80 + 60 * np.sin(x * y / 90)], axis=-1)
    base = slope + rng.integers(-20, 20, slope.shape)
    paths = rng.uniform(0.2, 0.8, (2, 2)), rng.uniform(-0.03, 0.03, (2, 2))
    colours = rng.integers(0, 256, (2, 3))
    frames = []
    for index in range(count):
        frame = base + rng.integers(-5, 5, base.shape)
        for (cy, cx), (vy, vx), colour in zip(*paths, colours, strict=True):
            disc = np.hypot(y - height * (cy + vy * index), x - width * (cx + vx * index)) < 0.2 * min(height, width)
            frame[disc] = colour
        frames.append(np.clip(frame, 0, 255).astype(np.uint8))
    return frames


def encoded(frame: np.ndarray, form: str = "PNG") -> bytes:
    """The frame as file bytes."""
    file = io.BytesIO()
    Image.fromarray(frame).save(file, form)
    return file.getvalue()

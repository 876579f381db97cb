"""Textures: patterns of grey, and palettes that colour them."""

from __future__ import annotations

import colorsys

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Grey = NDArray[np.float32]
Palette = NDArray[np.uint8]


def noise(random: np.random.Generator, height: int, width: int, cells: list[tuple[float, float]]) -> Grey:
    """Smooth noise (height, width), about 0..1: a sum of layers, each with cells of so many pixels and a weight."""
    total = np.zeros((height, width), np.float32)
    for size, weight in cells:
        shape = (int(height / size) + 4, int(width / size) + 4)
        layer = Image.fromarray(random.integers(0, 256, shape, np.uint8))
        left, top = random.uniform(0, 1, 2)
        box = (left, top, left + width / size, top + height / size)
        total += np.float32(weight / 255) * np.asarray(layer.resize((width, height), Image.Resampling.BICUBIC, box))
    return total / np.float32(sum(weight for _, weight in cells))


def pattern(random: np.random.Generator, height: int, width: int, cell: float, kind: str | None = None) -> NDArray[np.uint8]:
    """A pattern (height, width) of levels 0..255 whose parts are about `cell` pixels large."""
    kind = kind or str(random.choice(KINDS))
    grain = noise(random, height, width, [(max(cell / 8, 2.0), 1.0), (max(cell / 3, 3.0), 1.0)]) - 0.5
    if kind in ("smooth", "patches"):
        level = noise(random, height, width, [(2.5 * cell, 1.0), (cell, 0.6), (cell / 2.5 + 1, 0.3)])
        level = (level - 0.5) * 2.2 + 0.5
        if kind == "patches":
            level = np.floor(level.clip(0, 0.999) * 4) / 3
    else:
        level = _regular(kind, *_axes(random, height, width, cell))
    return np.asarray((255 * level + random.uniform(20, 90) * grain).clip(0, 255).astype(np.uint8))


def _axes(random: np.random.Generator, height: int, width: int, cell: float) -> tuple[Grey, Grey]:
    """Two turned and slightly bent coordinates (height, width), in cells."""
    turn = random.uniform(0, 2 * np.pi)
    cosine, sine = np.float32(np.cos(turn) / cell), np.float32(np.sin(turn) / cell)
    x = np.arange(width, dtype=np.float32) - width / 2
    y = np.arange(height, dtype=np.float32)[:, None] - height / 2
    bend = np.float32(random.choice([0.0, 0.6, 1.5])) * noise(random, height, width, [(3 * cell, 1.0)])
    return cosine * x + sine * y + bend, cosine * y - sine * x + bend


def _regular(kind: str, across: Grey, along: Grey) -> Grey:
    """Levels 0..1 of a pattern that repeats."""
    if kind == "stripes":
        return _edge(np.sin(np.pi * across))
    if kind == "checks":
        return _edge(np.sin(np.pi * across) * np.sin(np.pi * along))
    if kind == "spots":
        return _edge(np.cos(2 * np.pi * across) + np.cos(2 * np.pi * along) - 0.7)
    if kind == "rings":
        return _edge(np.sin(np.pi * np.hypot(across, along)))
    row = np.floor(along)  # bricks
    place = 0.5 * across + 0.5 * (row % 2)
    shade = (np.sin(12.9898 * row + 78.233 * np.floor(place)) * 43758.5453) % 1
    seam = np.minimum(np.minimum(along - row, 1 - along + row), 2 * np.minimum(place % 1, 1 - place % 1))
    return np.where(seam < 0.08, np.float32(0), (0.45 + 0.5 * shade).astype(np.float32))


def _edge(wave: Grey) -> Grey:
    """0 where the wave is below 0, 1 where it is above, with a soft step."""
    return np.asarray((0.5 + 3 * wave).clip(0, 1))


KINDS = ("smooth", "patches", "stripes", "checks", "spots", "rings", "bricks")


def palette(random: np.random.Generator, *, vivid: bool) -> Palette:
    """256 colours (256, 3) that run through two to four colours of neighbouring or opposite hues: `vivid` for objects, else calmer."""
    hue, spread = random.random(), random.choice([0.05, 0.12, 0.5])
    saturation, value = ((0.55, 1.0), (0.45, 1.0)) if vivid else ((0.1, 0.6), (0.25, 0.9))
    anchors = []
    for _ in range(int(random.integers(2, 5))):
        turn = (hue + spread * random.uniform(-1, 1)) % 1
        anchors.append(colorsys.hsv_to_rgb(turn, random.uniform(*saturation), random.uniform(*value)))
    if random.random() < 0.25:
        anchors[0] = (0.95, 0.95, 0.92) if random.random() < 0.6 else (0.1, 0.1, 0.14)
    return ramp(255 * np.array(anchors))


def ramp(anchors: NDArray[np.float64]) -> Palette:
    """256 colours that run evenly through the given ones (K, 3), 0..255."""
    place = np.linspace(0, 1, len(anchors))
    return np.stack([np.interp(np.linspace(0, 1, 256), place, channel) for channel in anchors.T], axis=1).astype(np.uint8)


def coloured(levels: NDArray[np.uint8], colours: Palette) -> Image.Image:
    """Levels (H, W) in the colours of a palette."""
    image = Image.fromarray(levels)
    return Image.merge("RGB", [image.point(channel.tolist()) for channel in colours.T])

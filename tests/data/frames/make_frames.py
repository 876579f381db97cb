"""Makes the frames in frames/synthetic: textured background, three textured shapes that move, cross and leave. numpy + Pillow.

python make_frames.py OUT_FOLDER            # 30 JPEG files, 384 x 216
"""

import sys
from pathlib import Path

import numpy as np
from PIL import Image

WIDTH, HEIGHT, FRAMES = 384, 216, 30


def texture(rng, height, width, cell, low, high):
    """Smooth colour noise, (height, width, 3) float in [low, high]."""
    grid = rng.uniform(low, high, (height // cell + 2, width // cell + 2, 3)).astype(np.float32)
    layers = [Image.fromarray(grid[..., c]).resize((width, height), Image.BICUBIC) for c in range(3)]
    return np.stack([np.asarray(layer) for layer in layers], -1)


def ellipse(cx, cy, rx, ry, angle):
    y, x = np.mgrid[:HEIGHT, :WIDTH].astype(np.float32)
    dx, dy = x - cx, y - cy
    u = np.cos(angle) * dx + np.sin(angle) * dy
    v = -np.sin(angle) * dx + np.cos(angle) * dy
    return np.clip((1 - np.sqrt((u / rx) ** 2 + (v / ry) ** 2)) * min(rx, ry) + 0.5, 0, 1)[..., None]


def frames():
    """Yields (HEIGHT, WIDTH, 3) uint8 RGB frames."""
    rng = np.random.Generator(np.random.PCG64(2026))
    background = texture(rng, HEIGHT + 40, WIDTH + 80, 24, 60, 190)
    skins = [texture(rng, HEIGHT, WIDTH, 9, *limits) for limits in ((150, 255), (0, 110), (40, 230))]
    for t in range(FRAMES):
        image = background[t // 2 : t // 2 + HEIGHT, t : t + WIDTH].copy()
        shapes = (
            (80 + 6.0 * t, 110 + 30 * np.sin(t / 6), 42, 30, 0.05 * t),
            (300 - 5.0 * t, 90 + 1.5 * t, 34, 46, -0.03 * t),
            (190 + 9.0 * t, 160 - 2.0 * t, 26, 26, 0.0),
        )
        for (cx, cy, rx, ry, angle), skin in zip(shapes, skins, strict=True):
            alpha = ellipse(cx, cy, rx, ry, angle)
            image = image * (1 - alpha) + np.roll(skin, (int(cy), int(cx)), (0, 1)) * alpha
        yield np.clip(image + 0.5, 0, 255).astype(np.uint8)


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    for index, image in enumerate(frames()):
        Image.fromarray(image).save(folder / f"{index:05d}.jpg", quality=92)

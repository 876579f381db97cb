"""Short synthetic video clips with exact masks: textured objects that move, turn, cross and leave, before a camera that drifts."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

# Objects are drawn from back to front in this order, over and over.
SHAPES = ("disc", "box", "star", "bean")

_OCTAVES = ((4, 0.5), (12, 0.35), (60, 0.35))  # cells across a texture, weight
_CONTRAST = 60  # grey levels


@dataclass(frozen=True)
class Clip:
    """A clip and where its objects are.

    frames  (T, H, W, 3) uint8 RGB
    masks   (T, N, H, W) bool: what one sees of each object; where objects overlap, the one in front has the pixel
    """

    frames: NDArray[np.uint8]
    masks: NDArray[np.bool_]


@dataclass(frozen=True)
class _Object:
    """One object: shape, size in pixels, texture, and its way through the clip.

    start, velocity  centre on frame 0 and its way per frame, x and y in pixels
    angle, spin      rotation on frame 0 and per frame, radians
    """

    shape: str
    size: float
    texture: NDArray[np.float32]
    start: NDArray[np.float64]
    velocity: NDArray[np.float64]
    angle: float
    spin: float


def clip(seed: int, frames: int = 24, height: int = 360, width: int = 640, objects: int = 3) -> Clip:
    """A clip, the same for the same arguments.

    On frame 0 all objects are in view. All cross near the middle; every third one is fast and leaves.
    """
    random = np.random.default_rng(seed)
    drift = random.uniform(0.05, 0.15, 2) * (height, width)  # of the camera, over the whole clip
    background = _texture(random, height + int(drift[0]) + 1, width + int(drift[1]) + 1)
    actors = [_object(random, index, objects, frames, height, width) for index in range(objects)]
    made = Clip(np.empty((frames, height, width, 3), np.uint8), np.zeros((frames, objects, height, width), np.bool_))
    for time in range(frames):
        top, left = (drift * time / max(frames - 1, 1)).astype(int)
        scene = background[top : top + height, left : left + width].copy()
        for index, actor in enumerate(actors):
            _draw(scene, made.masks[time], index, actor, time)
        made.frames[time] = scene.clip(0, 255).astype(np.uint8)
    return made


def inner_point(mask: NDArray[np.bool_]) -> tuple[int, int]:
    """x, y of the pixel that the mask loses last when it is eaten from its border: a good place to click. Raises ValueError for an empty mask."""
    if not mask.any():
        raise ValueError("an empty mask has no inner point.")
    while mask.any():
        last, padded = mask, np.pad(mask, 1)
        mask = mask & padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    rows, columns = np.nonzero(last)
    return int(columns[len(columns) // 2]), int(rows[len(rows) // 2])


def bounding_box(mask: NDArray[np.bool_]) -> tuple[int, int, int, int]:
    """x0, y0, x1, y1 of the mask in pixels, ends exclusive. Raises ValueError for an empty mask."""
    rows, columns = np.nonzero(mask)
    if len(rows) == 0:
        raise ValueError("an empty mask has no box.")
    return int(columns.min()), int(rows.min()), int(columns.max()) + 1, int(rows.max()) + 1


def _object(random: np.random.Generator, index: int, count: int, frames: int, height: int, width: int) -> _Object:
    size = random.uniform(0.13, 0.19) * min(height, width)
    around = 2 * np.pi * (index + random.uniform(-0.2, 0.2)) / count + random.uniform(0, 0.3)
    middle = np.array([width, height]) / 2
    start = middle + np.array([np.cos(around) * 0.33 * width, np.sin(around) * 0.30 * height])
    target = middle + random.uniform(-0.06, 0.06, 2) * (width, height)
    reach = 4.0 if index % 3 == 2 else 1.7  # times the way to the middle, during the clip; from about 2.5 on it leaves the frame
    return _Object(
        shape=SHAPES[index % len(SHAPES)],
        size=size,
        texture=_texture(random, int(4 * size), int(4 * size)),
        start=start,
        velocity=reach * (target - start) / max(frames - 1, 1),
        angle=random.uniform(0, 2 * np.pi),
        spin=random.choice([-1, 1]) * random.uniform(0.5, 2.0) * np.pi / max(frames - 1, 1),
    )


def _texture(random: np.random.Generator, height: int, width: int) -> NDArray[np.float32]:
    """Smooth noise of three scales around a colour, (height, width, 3), about 0..255: mostly light and dark, a little colour."""
    colour = random.uniform(40, 215, 3)
    tint = random.uniform(0.5, 1, 3)
    noise = np.zeros((height, width, 3), np.float32)
    for cells, weight in _OCTAVES:
        coarse = tint * random.standard_normal((cells, cells, 1)) + 0.3 * random.standard_normal((cells, cells, 3))
        for channel in range(3):
            layer = Image.fromarray(coarse[..., channel].astype(np.float32))
            noise[..., channel] += weight * np.asarray(layer.resize((width, height), Image.Resampling.BICUBIC))
    return (colour + _CONTRAST * noise).astype(np.float32)


def _draw(scene: NDArray[np.float32], masks: NDArray[np.bool_], index: int, actor: _Object, time: int) -> None:
    """Draws one object over the scene and takes its pixels from the masks (N, H, W) of those behind it."""
    x, y = actor.start + actor.velocity * time
    height, width = scene.shape[:2]
    rows, columns = _near(y, actor.size, height), _near(x, actor.size, width)
    down, right = np.mgrid[rows, columns].astype(np.float64)
    cosine, sine = np.cos(actor.angle + actor.spin * time), np.sin(actor.angle + actor.spin * time)
    along = ((right - x) * cosine + (down - y) * sine) / actor.size
    across = ((down - y) * cosine - (right - x) * sine) / actor.size
    inside = _SHAPES[actor.shape](along, across)
    side = len(actor.texture)
    picked = [((place + 2) / 4 * side).astype(int).clip(0, side - 1) for place in (across, along)]
    scene[rows, columns][inside] = actor.texture[picked[0], picked[1]][inside]
    masks[:index, rows, columns] &= ~inside
    masks[index, rows, columns] = inside


def _near(centre: float, size: float, limit: int) -> slice:
    """The rows or columns that an object can touch; empty where it has left."""
    return slice(*(int(min(max(end, 0), limit)) for end in (centre - 2 * size, centre + 2 * size + 1)))


def _star(x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.bool_]:
    return np.asarray(np.hypot(x, y) < 1.0 + 0.35 * np.cos(5 * np.arctan2(y, x)))


def _bean(x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.bool_]:
    return np.asarray(np.hypot(x / 1.4, y - 0.5 * x**2 + 0.3) < 0.75)


# Shapes by name: whether a place is inside, in units of the object's size; all fit into a square of side 4.
_SHAPES = {
    "disc": lambda x, y: np.hypot(x, y) < 1,
    "box": lambda x, y: (np.abs(x) < 1.25) & (np.abs(y) < 0.8),
    "star": _star,
    "bean": _bean,
}

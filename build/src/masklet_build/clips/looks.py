"""Looks: the background, the texture of each actor, and what the light and the lens do."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from masklet_build.clips.paths import sway
from masklet_build.clips.scene import Actor, Scene
from masklet_build.clips.textures import Palette, coloured, noise, palette, pattern

FINER = 2  # pixels of a texture per pixel of the frame
_LOW_CONTRAST = 0.06  # share of textures that hardly differ from the background
_CLEAR = 70.0  # distance of mean colours that is a clear contrast


@dataclass(frozen=True)
class Look:
    """What an actor looks like, and those that look like it.

    texture        as large as the actor reaches, times FINER, for an actor of that `radius` in pixels
    shade, shadow  0..1: how dark its far side and its shadow are
    rim            its parts have a dark border
    """

    texture: Image.Image
    radius: float
    shade: float
    shadow: float
    rim: bool


@dataclass(frozen=True)
class Looks:
    """What a scene looks like.

    background  all that the camera sees, times FINER; middle (2, 3): zeros, and where its middle is, in the last column
    actors      by Actor.look
    light       (2,) towards where the light comes from
    gain        (T, 3) and gamma (T,): brightness and colour over time
    noise       RGB around 128, larger than the frame, or None; softness: radius of the blur of the whole picture in pixels, 0 for none
    shifts      (T, 2) where each frame's noise is cut out
    """

    background: Image.Image
    middle: NDArray[np.float64]
    actors: dict[int, Look]
    light: NDArray[np.float64]
    gain: NDArray[np.float64]
    gamma: NDArray[np.float64]
    noise: Image.Image | None
    shifts: NDArray[np.int64]
    softness: float


def dress(random: np.random.Generator, scene: Scene) -> Looks:
    """Draws the looks of a scene."""
    colours = palette(random, vivid=bool(random.random() < 0.25))
    background = _background(random, scene, colours)
    mean = np.asarray(background.reduce(8), np.float64).mean(axis=(0, 1))
    actors: dict[int, Look] = {}
    for actor in scene.actors:
        if actor.look not in actors:
            actors[actor.look] = _look(random, actor, colours, mean)
    times = np.arange(scene.frames, dtype=np.float64)
    strength = random.choice([0.0, 0.1, 0.2])
    gain = np.exp(sway(random, times, strength))[:, None] * np.exp(np.stack([sway(random, times, 0.3 * strength) for _ in range(3)], axis=1))
    angle = random.uniform(-np.pi, 0)
    return Looks(
        background=_finer(background),
        middle=np.pad(np.mean(scene.camera.seen(), axis=0)[:, None], ((0, 0), (2, 0))),
        actors=actors,
        light=np.array([np.cos(angle), np.sin(angle)]),
        gain=gain,
        gamma=np.exp(random.normal(0, 0.15) + sway(random, times, 0.4 * strength)),
        noise=_noise(random, scene),
        shifts=random.integers(0, _NOISE_ROOM, (scene.frames, 2)),
        softness=float(random.uniform(0.3, 0.8)) if random.random() < 0.12 else 0.0,
    )


_NOISE_ROOM = 64  # pixels by which the noise is larger than the frame
_NORMAL = np.array([NormalDist().inv_cdf((level + 0.5) / 256) for level in range(256)])  # normal numbers from even ones: fast


def _noise(random: np.random.Generator, scene: Scene) -> Image.Image | None:
    level = random.choice([0.0, 2.0, 5.0, 9.0], p=[0.2, 0.4, 0.3, 0.1])
    if level == 0:
        return None
    shape = (scene.height + _NOISE_ROOM, scene.width + _NOISE_ROOM, 3)
    return Image.fromarray((128.5 + level * _NORMAL).astype(np.uint8)[random.integers(0, 256, shape, np.uint8)])


def _background(random: np.random.Generator, scene: Scene, colours: Palette) -> Image.Image:
    side = min(scene.height, scene.width)
    low, high = scene.camera.seen()
    width, height = np.ceil(high - low + 2).astype(int).tolist()
    kind = str(random.choice(["smooth", "patches", "stripes", "checks", "spots", "rings", "bricks"], p=[0.4, 0.15, 0.1, 0.1, 0.05, 0.05, 0.15]))
    image = coloured(pattern(random, height, width, random.uniform(0.06, 0.3) * side, kind), colours)
    if random.random() < 0.3:
        ground = coloured(pattern(random, height, width, random.uniform(0.05, 0.2) * side), palette(random, vivid=False))
        level = random.uniform(0.35, 0.65) * height + random.uniform(0.05, 0.3) * side * (noise(random, 1, width, [(0.3 * side, 1.0)]) - 0.5)
        image.paste(ground, (0, 0), Image.fromarray(np.arange(height)[:, None] > level))
    if random.random() < 0.4:
        _litter(random, image, side, colours)
    return image


def _litter(random: np.random.Generator, image: Image.Image, side: int, colours: Palette) -> None:
    """Scatters leaves and pebbles over the background."""
    pen = ImageDraw.Draw(image)
    own = palette(random, vivid=bool(random.random() < 0.3))
    turn = np.linspace(0, 2 * np.pi, 9, endpoint=False)
    slim = random.uniform(0.35, 1)
    for _ in range(int(random.integers(20, 120))):
        size, angle = random.uniform(0.01, 0.035) * side, random.uniform(0, np.pi)
        along, across = size * np.cos(turn), size * slim * np.sin(turn)
        corners = np.stack([along * np.cos(angle) - across * np.sin(angle), along * np.sin(angle) + across * np.cos(angle)], axis=1)
        corners += random.uniform(0, image.size)
        colour = (own if random.random() < 0.7 else colours)[random.integers(256)]
        pen.polygon(corners.ravel().tolist(), fill=tuple(colour.tolist()))


def _finer(image: Image.Image) -> Image.Image:
    return image.resize((FINER * image.width, FINER * image.height), Image.Resampling.BILINEAR)


def _look(random: np.random.Generator, actor: Actor, around: Palette, mean: NDArray[np.float64]) -> Look:
    width, height = (2 * np.ceil(actor.reach) + 4).astype(int).tolist()
    first, second = (_contrasting(random, around, mean) for _ in range(2))
    texture = _texture(random, height, width, actor.radius, first)
    if random.random() < 0.2:  # two parts of different colours, one thing
        other = _texture(random, height, width, actor.radius, second)
        angle, off = random.uniform(0, 2 * np.pi), random.uniform(-0.4, 0.4) * actor.radius
        x, y = np.arange(width) - width / 2, np.arange(height)[:, None] - height / 2
        texture.paste(other, (0, 0), Image.fromarray(x * np.cos(angle) + y * np.sin(angle) > off))
    return Look(_finer(texture), actor.radius, random.uniform(0.15, 0.6), random.choice([0.0, 0.4], p=[0.55, 0.45]), bool(random.random() < 0.35))


def _contrasting(random: np.random.Generator, around: Palette, mean: NDArray[np.float64]) -> Palette:
    if random.random() < _LOW_CONTRAST:
        return (random.choice([0.75, 1.3]) * around).clip(0, 255).astype(np.uint8)
    for _ in range(6):
        colours = palette(random, vivid=True)
        if np.linalg.norm(colours.mean(axis=0) - mean) > _CLEAR:
            break
    return colours


def _texture(random: np.random.Generator, height: int, width: int, radius: float, colours: Palette) -> Image.Image:
    if random.random() < 0.3:
        plain = np.full((height, width), random.integers(256), np.uint8)
        return coloured(plain, colours)
    return coloured(pattern(random, height, width, max(random.uniform(0.25, 0.9) * radius, 3.0)), colours)

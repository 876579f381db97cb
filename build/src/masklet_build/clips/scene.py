"""A scene: the geometry of a clip, at every time at which it is drawn, without colours."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from masklet_build.clips.camera import Camera, camera
from masklet_build.clips.outlines import Outline, Part, outline
from masklet_build.clips.paths import sway
from masklet_build.clips.stage import Role, Stage
from masklet_build.clips.stories import plan

Array = NDArray[np.float64]

SHUTTER = 0.4  # of a frame, that a picture with motion blur is exposed for
BLUR_SAMPLES = 3
_MOST_SWELL = 0.47  # natural logarithm of the largest change of scale, 1.6


@dataclass(frozen=True)
class Actor:
    """One thing in a scene, placed at S times.

    number   of its mask, or None
    look     number of its texture
    parts    its outline in pixels of the frame
    centre, angle, scale  (S, 2), (S,), (S,) of its texture
    reach    (2,) pixels at scale 1 from its centre to its farthest corners, along its own x and y
    radius   pixels, of a disc of its area
    """

    number: int | None
    look: int
    parts: Outline
    centre: Array
    angle: Array
    scale: Array
    reach: Array
    radius: float


@dataclass(frozen=True)
class Scene:
    """Frame t is drawn from the `samples` times from t * samples on; its masks are those of the one in the middle. Actors: back to front."""

    frames: int
    height: int
    width: int
    samples: int
    tracked: int
    camera: Camera
    actors: list[Actor]
    has_look_alike: bool


def build(random: np.random.Generator, story: str, *, frames: int, height: int, width: int, objects: int, calm: bool) -> Scene:
    """A scene for a story."""
    samples = BLUR_SAMPLES if random.random() < 0.15 else 1
    within = (np.arange(samples) - samples // 2) * SHUTTER / samples
    times = (np.arange(frames)[:, None] + within).ravel()
    stage = Stage(random, frames, height, width, times, camera(random, times, height, width))
    plan(stage, story, objects, calm=calm)
    outlines: list[Outline] = []
    for role in stage.roles:
        outlines.append(
            outlines[role.like] if role.like is not None else _pillar(stage) if role.family == "pillar" else outline(random, times, role.family)
        )
    actors = [_actor(stage, index, role, outlines[index]) for index, role in enumerate(stage.roles)]
    order = sorted(range(len(actors)), key=lambda index: stage.roles[index].depth)
    has_look_alike = any(role.like is not None for role in stage.roles)
    return Scene(frames, height, width, samples, objects, stage.camera, [actors[index] for index in order], has_look_alike)


def _pillar(stage: Stage) -> Outline:
    """A beam across the whole frame, of half width 1 before it is scaled."""
    corners = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) * [1.0, 60.0]
    return [Part(np.repeat(corners[None], len(stage.times), axis=0))]


def _actor(stage: Stage, index: int, role: Role, shape: Outline) -> Actor:
    random, times = stage.random, stage.times
    centre = stage.path(role)
    if role.anchored_at is not None:
        start = random.choice([0.0, np.pi / 2]) + random.uniform(-0.15, 0.15)
        angle, scale = start + stage.camera.angle, stage.camera.zoom / stage.camera.zoom[0]
    else:
        spin = random.choice([0.0, random.uniform(-0.12, 0.12)])
        angle = random.uniform(0, 2 * np.pi) + spin * times + sway(random, times, random.choice([0.1, 0.5]))
        swell = sway(random, times, random.uniform(0, 0.8), (20, 60)) if role.swells else np.zeros_like(times)
        scale = np.exp(_MOST_SWELL * np.tanh(swell / _MOST_SWELL))
    if role.family == "pillar":  # its length needs to reach beyond the frame, no more
        length = 1.5 * max(stage.height, stage.width) / (60 * role.radius)
        shape = [Part(part.corners * [1, length]) for part in shape]
    cosine, sine = role.radius * scale * np.cos(angle), role.radius * scale * np.sin(angle)
    turn = np.stack([np.stack([cosine, sine], axis=1), np.stack([-sine, cosine], axis=1)], axis=1)
    parts = [Part(part.corners @ turn + centre[:, None], part.hole) for part in shape]
    reach = role.radius * np.max([np.abs(part.corners).max(axis=(0, 1)) for part in shape], axis=0)
    look = index if role.like is None else role.like
    return Actor(index if role.tracked else None, look, parts, centre, angle, scale, reach, role.radius)

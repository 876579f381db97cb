"""Outlines of objects: polygons that may change their form over time, about as large as a disc of radius 1."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from masklet_build.clips.paths import sway

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Part:
    """One polygon at every time, (S, P, 2) x and y; `hole`: it is cut out of what was drawn before."""

    corners: Array
    hole: bool = False


Outline = list[Part]
Maker = Callable[[np.random.Generator, Array], Outline]


def outline(random: np.random.Generator, times: Array, family: str | None = None) -> Outline:
    """A drawn outline, of `family` if that is given; its area at the first time is that of a disc of radius 1, but for overlaps of its parts."""
    name = family or str(random.choice(list(FAMILIES), p=_WEIGHTS))
    parts = FAMILIES[name](random, times)
    area = sum((-1 if part.hole else 1) * _area(part.corners[0]) for part in parts)
    squash = np.exp(sway(random, times, random.choice([0.0, 0.06, 0.15])))
    scale = np.stack([squash, 1 / squash], axis=1)[:, None] * np.sqrt(np.pi / area)
    return [Part(part.corners * scale, part.hole) for part in parts]


def _area(corners: Array) -> float:
    x, y = corners.T
    return float(abs(x @ np.roll(y, 1) - y @ np.roll(x, 1)) / 2)


def _round(radius: Array) -> Array:
    """Polygon of a radius (S, P) or (P,) by angle."""
    angle = np.linspace(0, 2 * np.pi, radius.shape[-1], endpoint=False)
    return np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=-1)


def _still(corners: Array, times: Array) -> Outline:
    return [Part(np.repeat(corners[None], len(times), axis=0))]


def _turned(corners: Array, angle: Array) -> Array:
    """Corners (P, 2) turned by each angle (S,): (S, P, 2)."""
    cosine, sine = np.cos(angle)[:, None], np.sin(angle)[:, None]
    return np.stack([cosine * corners[:, 0] - sine * corners[:, 1], sine * corners[:, 0] + cosine * corners[:, 1]], axis=-1)


def _blob(random: np.random.Generator, times: Array) -> Outline:
    angle = np.linspace(0, 2 * np.pi, 56, endpoint=False)
    radius = np.ones((len(times), 56))
    for order in range(2, 6):
        size = random.uniform(0, 0.75) / order
        change = size * (1 + sway(random, times, 0.8))
        turn = random.uniform(0, 2 * np.pi) + sway(random, times, random.choice([0.2, 0.8]))
        radius += change[:, None] * np.cos(order * angle + turn[:, None])
    return [Part(_round(radius.clip(0.25)))]


def _star(random: np.random.Generator, times: Array) -> Outline:
    points = int(random.integers(4, 9))
    depth = random.uniform(0.4, 0.75) + sway(random, times, 0.08)
    radius = np.where(np.arange(2 * points) % 2, depth[:, None], 1.0)
    return [Part(_round(radius))]


def _flower(random: np.random.Generator, times: Array) -> Outline:
    angle = np.linspace(0, 2 * np.pi, 72, endpoint=False)
    depth = random.uniform(0.15, 0.3) + sway(random, times, 0.08)
    return [Part(_round(1 + depth[:, None] * np.cos(random.integers(3, 8) * angle)))]


def _gear(random: np.random.Generator, times: Array) -> Outline:
    teeth = int(random.integers(6, 12))
    radius = np.tile([1.0, 1.0, 0.78, 0.78], teeth)
    parts = _still(_round(radius), times)
    if random.random() < 0.4:
        parts.append(Part(_still(_round(np.full(24, random.uniform(0.25, 0.4))), times)[0].corners, hole=True))
    return parts


def _ellipse(random: np.random.Generator, times: Array) -> Outline:
    aspect = random.uniform(1, 1.6) * np.exp(sway(random, times, 0.15))
    disc = _round(np.ones(48))
    return [Part(disc * np.stack([aspect, 1 / aspect], axis=1)[:, None])]


def _box(random: np.random.Generator, times: Array) -> Outline:
    angle = np.linspace(0, 2 * np.pi, 64, endpoint=False)
    power = 2 / random.uniform(3, 9)
    aspect = random.uniform(1, 1.5)
    x, y = (np.sign(wave) * np.abs(wave) ** power for wave in (np.cos(angle), np.sin(angle)))
    lean = sway(random, times, random.choice([0, 0.25]))
    corners = np.repeat(np.stack([aspect * x, y / aspect], axis=-1)[None], len(times), axis=0)
    corners[..., 0] += lean[:, None] * corners[..., 1]
    return [Part(corners)]


def _bean(random: np.random.Generator, times: Array) -> Outline:
    x, y = _round(np.ones(56)).T
    bend = random.uniform(0.2, 0.65) + sway(random, times, 0.35)
    length = random.uniform(1.2, 1.6)
    bent = 0.75 * y + bend[:, None] * (x**2 - 0.5)
    return [Part(np.stack([np.broadcast_to(length * x, bent.shape), bent], axis=-1))]


def _crescent(random: np.random.Generator, times: Array) -> Outline:
    depth = random.uniform(0.25, 0.6) + sway(random, times, 0.12)
    angle = np.linspace(0.12, np.pi - 0.12, 24)
    upper = np.stack([np.cos(angle), np.sin(angle)], axis=-1)
    outer = np.repeat(upper[None], len(times), axis=0)
    inner = outer[:, ::-1] * np.stack([np.ones_like(depth), depth], axis=1)[:, None]
    return [Part(np.concatenate([outer, inner], axis=1) - [0, 0.45])]


def _ring(random: np.random.Generator, times: Array) -> Outline:
    hole = random.uniform(0.35, 0.6)
    return [*_still(_round(np.ones(48)), times), Part(_still(_round(np.full(36, hole)), times)[0].corners, hole=True)]


def _limb(length: float, width: float) -> Array:
    """A capsule from the origin along x, narrower at its end: (P, 2)."""
    near, far = np.linspace(np.pi / 2, 1.5 * np.pi, 9), np.linspace(-np.pi / 2, np.pi / 2, 9)
    start = width * np.stack([np.cos(near), np.sin(near)], axis=-1)
    end = 0.7 * width * np.stack([np.cos(far), np.sin(far)], axis=-1) + [length, 0]
    return np.concatenate([start, end])


def _creature(random: np.random.Generator, times: Array) -> Outline:
    """A body with a head, and legs and a tail that swing."""
    body = _round(np.ones(40)) * [random.uniform(0.9, 1.2), random.uniform(0.5, 0.7)]
    reach, low = body[:, 0].max(), body[:, 1].max()
    swing = random.uniform(0.3, 0.6)
    pace = 2 * np.pi / random.uniform(6, 14)
    legs = int(random.integers(2, 5))
    parts = []
    limb = _limb(random.uniform(0.5, 0.9), random.uniform(0.13, 0.2))
    for number in range(legs):
        foot = np.pi / 2 + swing * np.sin(pace * times + np.pi * number)
        hip = [reach * (-0.65 + 1.3 * number / (legs - 1)), 0.55 * low]
        parts.append(Part(_turned(limb, foot) + hip))
    tail = _limb(random.uniform(0.4, 0.9), 0.12)
    parts.append(Part(_turned(tail, np.pi + 0.5 + 0.5 * np.sin(0.7 * pace * times)) - [0.85 * reach, 0]))
    head = _round(np.ones(32)) * random.uniform(0.35, 0.5)
    nod = 0.06 * np.sin(pace * times)
    parts.append(Part(head + np.stack([np.full_like(nod, reach), nod - 0.6 * low], axis=1)[:, None]))
    return [*parts, *_still(body, times)]


def _fish(random: np.random.Generator, times: Array) -> Outline:
    """A body with a tail fin that swings."""
    body = _round(np.ones(40)) * [1.2, random.uniform(0.5, 0.75)]
    fin = np.array([[0.1, 0], [-0.75, -0.6], [-0.5, 0], [-0.75, 0.6]]) * [1, random.uniform(0.7, 1.1)]
    flap = 0.45 * np.sin(2 * np.pi / random.uniform(5, 12) * times)
    back = np.array([[0.4, -0.2], [-0.1, -random.uniform(0.8, 1.1)], [-0.5, -0.2]])
    return [Part(_turned(fin, flap) - [1.05, 0]), *_still(back, times), *_still(body, times)]


def _arm(random: np.random.Generator, times: Array) -> Outline:
    """A round body with one long arm that swings."""
    arm = _limb(random.uniform(1.3, 1.9), random.uniform(0.22, 0.35))
    angle = random.uniform(0, 2 * np.pi) + random.uniform(0.4, 0.9) * np.sin(2 * np.pi / random.uniform(10, 24) * times)
    body = _round(np.ones(40)) * [1, random.uniform(0.7, 1)]
    return [Part(_turned(arm, angle)), *_still(body, times)]


FAMILIES: dict[str, Maker] = {
    "blob": _blob,
    "star": _star,
    "flower": _flower,
    "gear": _gear,
    "ellipse": _ellipse,
    "box": _box,
    "bean": _bean,
    "crescent": _crescent,
    "ring": _ring,
    "creature": _creature,
    "fish": _fish,
    "arm": _arm,
}
_WEIGHTS = np.array([5, 2, 1, 1.5, 1.5, 2, 1.5, 1, 0.6, 2.5, 1.5, 1.5])
_WEIGHTS = _WEIGHTS / _WEIGHTS.sum()

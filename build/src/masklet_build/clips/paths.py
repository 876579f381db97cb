"""Smooth curves over time: ways through the frame, and numbers that sway."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def spline(keys: dict[float, Array], times: Array) -> Array:
    """The smooth curve through points (2,) at given times (Catmull-Rom for uneven gaps), at `times` (S,): (S, 2). It rests before and after."""
    at = np.array(sorted(keys))
    points = np.array([keys[time] for time in at])
    if len(at) == 1:
        return np.repeat(points, len(times), axis=0)
    slopes = np.gradient(points, at, axis=0)
    speeds = np.hypot(*np.diff(points, axis=0).T) / np.diff(at)
    most = 1.5 * np.minimum(np.append(speeds, speeds[-1]), np.insert(speeds, 0, speeds[0]))  # of a slow part and a fast one the slow one counts
    slopes *= np.minimum(1, most / np.maximum(np.hypot(*slopes.T), 1e-9))[:, None]
    when = np.clip(times, at[0], at[-1])
    left = np.clip(np.searchsorted(at, when, side="right") - 1, 0, len(at) - 2)
    gap = (at[left + 1] - at[left])[:, None]
    part = ((when - at[left]) / gap[:, 0])[:, None]
    rest = 1 - part
    value = rest**2 * (1 + 2 * part) * points[left] + part**2 * (3 - 2 * part) * points[left + 1]
    curve: Array = value + gap * part * rest * (rest * slopes[left] - part * slopes[left + 1])
    return curve


def sway(random: np.random.Generator, times: Array, amplitude: float, period: tuple[float, float] = (12, 40)) -> Array:
    """Two sines of random phase and period (frames), (S,): 0 at time 0, within about +-`amplitude`."""
    rate = 2 * np.pi / random.uniform(*period, (2, 1))
    phase = random.uniform(0, 2 * np.pi, (2, 1))
    waves = np.sin(rate * times + phase) - np.sin(phase)
    return np.asarray(amplitude * (0.6 * waves[0] + 0.4 * waves[1]) / 1.4)


def roam(random: np.random.Generator, start: Array, room: Array, *, frames: int, speed: float) -> dict[float, Array]:
    """Points (2,) by time of a walk from `start` with about `speed` pixels per frame, that stays in `room`, [[x0, y0], [x1, y1]]."""
    keys = {0.0: start}
    heading = random.uniform(0, 2 * np.pi)
    time, here = 0.0, start
    while time < frames:
        gap = random.uniform(5, 12)
        for _ in range(6):
            heading += random.normal(0, 0.7)
            there = here + speed * gap * random.uniform(0.5, 1.2) * np.array([np.cos(heading), np.sin(heading)])
            if (there > room[0]).all() and (there < room[1]).all():
                break
            heading = random.uniform(0, 2 * np.pi)
        here = np.clip(there, room[0], room[1])
        time += gap
        keys[time] = here
    return keys


def through(keys: dict[float, Array], stops: dict[float, Array]) -> dict[float, Array]:
    """The walk `keys`, but through `stops` instead of whatever it did between the first and the last of them, or soon before and after."""
    first, last = min(stops), max(stops)
    kept = {time: point for time, point in keys.items() if time == 0.0 or time < first - 4 or time > last + 4}
    return kept | stops

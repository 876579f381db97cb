"""The camera: how a picture larger than the frame moves behind it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from masklet_build.clips.paths import sway

Array = NDArray[np.float64]

_PAN, _TURN = 0.12, 0.09  # of the smaller side: how far the middle and the corners may move


@dataclass(frozen=True)
class Camera:
    """A point of the background is seen at the frame's middle + zoom * turned(point - shift).

    shift (S, 2) pixels, zoom (S,) >= 1, angle (S,) radians
    """

    middle: Array
    shift: Array
    zoom: Array
    angle: Array

    @cached_property
    def matrices(self) -> Array:
        """Points of the background from pixels of the frame, relative to its middle: (S, 2, 3)."""
        cosine, sine = np.cos(self.angle) / self.zoom, np.sin(self.angle) / self.zoom
        return np.stack([np.stack([cosine, sine, self.shift[:, 0]], axis=1), np.stack([-sine, cosine, self.shift[:, 1]], axis=1)], axis=1)

    def seen(self) -> tuple[Array, Array]:
        """Lowest and highest x and y, (2,) each, of the background that is ever seen."""
        corners = np.array([[-1, -1], [1, -1], [-1, 1], [1, 1]]) * self.middle
        points = corners @ self.matrices[:, :, :2].transpose(0, 2, 1) + self.matrices[:, None, :, 2]
        return points.min(axis=(0, 1)), points.max(axis=(0, 1))

    def follow(self, point: Array, sample: int) -> Array:
        """Where a point of the background is seen at every time, (S, 2), that is seen at `point` (2,) at one of them."""
        matrix = self.matrices
        there = matrix[sample, :, :2] @ (point - self.middle) + matrix[sample, :, 2]
        relative = np.linalg.solve(matrix[:, :, :2], (there - matrix[:, :, 2])[..., None])[..., 0]
        return np.asarray(relative + self.middle)


def camera(random: np.random.Generator, times: Array, height: int, width: int) -> Camera:
    """A camera that rests, drifts or shakes."""
    side = min(height, width)
    kind = random.choice(["rest", "drift", "shake"], p=[0.25, 0.55, 0.2])
    pan = {"rest": 0.0, "drift": random.uniform(0.3, 1) * _PAN, "shake": 0.25 * _PAN}[kind] * side
    period = (8.0, 16.0) if kind == "shake" else (24.0, 70.0)
    shift = np.stack([sway(random, times, pan, period), sway(random, times, pan, period)], axis=1)
    turn = 0.0 if kind == "rest" else 0.5 * random.uniform(0, _TURN) * side / np.hypot(height / 2, width / 2)
    zoom = 1 + (0 if kind == "rest" else random.uniform(0, 0.12)) * (1 + np.sin(2 * np.pi * (times / random.uniform(30, 80) + random.random())))
    return Camera(np.array([width, height]) / 2, shift, zoom, sway(random, times, turn, period))

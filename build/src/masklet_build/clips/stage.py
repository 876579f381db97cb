"""The stage that a story is planned on: the frame, its times, its camera, and the roles."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from masklet_build.clips.camera import Camera
from masklet_build.clips.paths import roam, spline, through

Array = NDArray[np.float64]
Keys = dict[float, Array]

FAST = 0.07  # of the smaller side per frame: nothing that a story asks for is much faster


@dataclass
class Role:
    """One thing in a clip.

    radius       pixels, of a disc of its area
    keys         points (2,) in pixels that its centre goes through, by time in frames
    depth        what has more is in front
    tracked      it has a mask
    like         number of the role whose outline and texture it has, or None
    family       of its outline, or None for any
    swells       its size changes over time
    anchored_at  it stands still in the scene, so that only the camera moves it: time at which it is at its first key. None: it moves
    """

    radius: float
    keys: Keys
    depth: float
    tracked: bool = True
    like: int | None = None
    family: str | None = None
    swells: bool = True
    anchored_at: float | None = None


@dataclass
class Stage:
    """The frame, the times (S,) in frames at which it is drawn, and the roles so far."""

    random: np.random.Generator
    frames: int
    height: int
    width: int
    times: Array
    camera: Camera
    roles: list[Role] = field(default_factory=list)

    @property
    def side(self) -> int:
        """The smaller side in pixels, the measure of ways and speeds."""
        return min(self.height, self.width)

    @property
    def size(self) -> Array:
        """Width and height."""
        return np.array([self.width, self.height], np.float64)

    def radius(self, area: tuple[float, float]) -> float:
        """Of a disc whose area, as a part of the frame's, is drawn from this range."""
        low, high = np.log(area)
        return float(np.sqrt(np.exp(self.random.uniform(low, high)) * self.width * self.height / np.pi))

    def walk(self, start: Array) -> Keys:
        """Keys of a path inside the frame: mostly of moderate speed, sometimes almost none, sometimes fast."""
        part = self.random.choice([0.002, 0.012, 0.03, 0.07], p=[0.15, 0.4, 0.35, 0.1])  # of the side, per frame
        room = np.array([0.06 * self.size, 0.94 * self.size])
        return roam(self.random, start, room, frames=self.frames, speed=float(part * self.random.uniform(0.6, 1.4) * self.side))

    def path(self, role: Role) -> Array:
        """Centre of a role at all times, (S, 2)."""
        if role.anchored_at is None:
            return spline(role.keys, self.times)
        return self.camera.follow(role.keys[min(role.keys)], min(int(np.searchsorted(self.times, role.anchored_at)), len(self.times) - 1))

    def outside(self, reach: float, near: Array | None = None) -> Array:
        """A point outside the frame, `reach` away from its border: beside the border that is nearest to a point, or beside any."""
        if near is None:
            near = self.random.uniform(0.1, 0.9, 2) * self.size
            border = int(self.random.integers(4))
        else:
            border = int(np.argmin([near[0], self.width - near[0], near[1], self.height - near[1]]))
        axis, far = divmod(border, 2)
        point = near.copy()
        point[axis] = self.size[axis] + reach if far else -reach
        return point

    def detour(self, start: Array, end: Array, begin: float, finish: float) -> Keys:
        """A way between two points outside the frame, in that time, on a wide arc around the frame."""
        middle = 0.5 * self.size
        (x0, y0), (x1, y1) = start - middle, end - middle
        first, last = np.arctan2(y0, x0), np.arctan2(y1, x1)
        turn = (last - first + np.pi) % (2 * np.pi) - np.pi
        far = 1.3 * max(np.hypot(x0, y0), np.hypot(x1, y1), float(np.hypot(*middle)) + self.side / 4)
        arc = {begin + part * (finish - begin): first + part * turn for part in (0.2, 0.4, 0.6, 0.8)}
        return {begin: start, **{time: middle + far * np.array([np.cos(angle), np.sin(angle)]) for time, angle in arc.items()}, finish: end}

    def near_edge(self, radius: float, outer: Array) -> Array:
        """The point nearest to one outside the frame from which an object of that radius can be seen whole, nearly."""
        edge = np.minimum(1.15 * radius, 0.45 * self.size)
        return np.clip(outer, edge, self.size - edge)


def passing(stage: Stage, keys: Keys, when: float, around: float, where: Array) -> Keys:
    """A walk that goes through a place at a time, straight on for `around` frames before and after. It starts nearer where it were too fast."""
    before = spline(keys, np.array([max(when - around, 0.0)]))[0]
    length = max(float(np.hypot(*(where - before))), 1e-6)
    most = max(FAST * stage.side * around, 1e-6)
    way = (where - before) / length
    start = where - way * min(length, most)
    after = where + way * min(max(length, 0.2 * stage.side), most)
    after = np.clip(after, 0.08 * stage.size, 0.92 * stage.size)
    return through(keys, {max(when - around, 0.0): start, when: where, when + around: after})


def sweeping(stage: Stage, reach: float, stops: Keys) -> Keys:
    """A way from outside the frame through `stops` and out again; it may begin before the clip and end after it."""
    first, last = min(stops), max(stops)
    enter, leave = stage.outside(reach), stage.outside(reach)
    speed = stage.random.uniform(0.5, 1) * FAST * stage.side
    before, after = (float(np.hypot(*(stops[time] - end))) / speed + 0.1 for time, end in ((first, enter), (last, leave)))
    return {first - before: enter, **stops, last + after: leave}

"""Stories: who is in a clip, how large, and which way each one goes."""

from __future__ import annotations

import numpy as np

from masklet_build.clips.stage import Array, Keys, Role, Stage, passing, sweeping

STORIES = ("roam", "cross", "hide", "return", "look_alike")
LEAST_FRAMES = {"roam": 1, "cross": 1, "hide": 8, "return": 8, "look_alike": 1}

_AREA = (0.02, 0.12)  # of the frame
_CALM_AREA = (0.015, 0.02)
_SMALL_AREA = (0.015, 0.03)  # of objects that hide or leave
_COMPACT = ("blob", "star", "flower", "gear", "ellipse", "box")  # outlines that fit behind a cover
_REACH = 2.0  # radii from the centre of almost any outline to its farthest corner


def plan(stage: Stage, story: str, objects: int, *, calm: bool) -> None:
    """Fills the stage with roles, those with a mask first: `objects` of them. `calm`: small, far from each other, no extras."""
    small = story in ("hide", "return") and not calm
    for number in range(objects):
        area = _CALM_AREA if calm else _SMALL_AREA if small and number == 0 else _AREA
        stage.roles.append(Role(stage.radius(area), {}, stage.random.random()))
    for role, start in zip(stage.roles, _grid(stage, objects) if calm else _scattered(stage), strict=True):
        role.keys = stage.walk(start)
    if story == "cross":
        _cross(stage)
    elif story == "hide":
        _hide(stage)
    elif story == "return":
        _return(stage)
    elif story == "look_alike":
        _look_alike(stage)
    for _ in range(0 if calm else int(stage.random.choice([0, 1, 2], p=[0.45, 0.35, 0.2]))):
        (_add_passer, _add_bystander, _add_twin)[stage.random.choice(3, p=[0.45, 0.4, 0.15])](stage)


def _grid(stage: Stage, objects: int) -> list[Array]:
    columns = int(np.ceil(np.sqrt(objects * stage.width / stage.height)))
    rows = int(np.ceil(objects / columns))
    return [(np.array([number % columns, number // columns]) + 0.5) / (columns, rows) * stage.size for number in range(objects)]


def _scattered(stage: Stage) -> list[Array]:
    """Starts that keep the objects apart, as far as a few draws find such."""
    starts: list[Array] = []
    for role in stage.roles:
        edge = np.minimum(0.7 * role.radius, 0.4 * stage.size)
        draws = stage.random.uniform(edge, stage.size - edge, (12, 2))
        others = np.array(starts).reshape(-1, 2)
        radii = np.array([other.radius for other in stage.roles[: len(starts)]])
        gaps = (np.hypot(*(draws[:, None] - others).transpose(2, 0, 1)) - radii).min(axis=1, initial=np.inf)
        enough = np.flatnonzero(gaps > 1.1 * role.radius)
        starts.append(draws[enough[0] if len(enough) else np.argmax(gaps)])
    return starts


def _meeting(stage: Stage) -> tuple[float, float, Array]:
    """When and where something happens, and how many frames before and after it takes."""
    last = max(stage.frames - 1, 2)
    when = stage.random.uniform(0.35, 0.7) * last
    around = min(when, last - when, stage.random.uniform(7, 13))
    where = stage.size * (0.5 + stage.random.uniform(-0.18, 0.18, 2))
    return when, around, where


def _cross(stage: Stage) -> None:
    """The first two objects meet, and one passes in front of the other; a single one meets something that is not tracked."""
    if len(stage.roles) == 1:
        _add_passer(stage)
        return
    when, around, where = _meeting(stage)
    first, second = stage.roles[:2]
    off = stage.random.normal(0, 0.3, 2) * first.radius
    first.keys = passing(stage, first.keys, when, around, where)
    second.keys = passing(stage, second.keys, when, around, where + off)


def _look_alike(stage: Stage) -> None:
    """Something that looks like the first object crosses its way: another object, or something that is not tracked."""
    if len(stage.roles) == 1 or stage.random.random() < 0.5:
        _add_twin(stage)
        return
    first, second = stage.roles[:2]
    second.like, second.radius = 0, first.radius * stage.random.uniform(0.85, 1.15)
    _cross(stage)


def _hide(stage: Stage) -> None:
    """The first object goes behind something that is not tracked, and comes out again."""
    random, hidden = stage.random, stage.roles[0]
    hidden.depth, hidden.swells, hidden.family = 0.0, False, str(random.choice(_COMPACT))
    when, around, _ = _meeting(stage)
    where = _clear_place(stage)
    stay = random.uniform(1, max(0.2 * min(stage.frames, 30), 1.5))
    keys = passing(stage, hidden.keys, when, max(around, stay), where)
    del keys[when]
    nudge = 0.1 * hidden.radius * random.uniform(-1, 1, 2)
    behind = {when - stay / 2: where - nudge, when + stay / 2: where + nudge}
    hidden.keys = keys | behind
    cover = Role(random.uniform(2.1, 2.7) * hidden.radius, {0.0: where}, 2.0, tracked=False, swells=False)
    cover.family = str(random.choice(["pillar", "box", "ellipse", "blob"], p=[0.4, 0.25, 0.2, 0.15]))
    if cover.family == "pillar":
        cover.radius = 1.6 * hidden.radius
    if cover.family == "pillar" or random.random() < 0.6:
        cover.anchored_at = when
    else:
        cover.keys = sweeping(stage, _REACH * cover.radius, behind)
    stage.roles.append(cover)


def _clear_place(stage: Stage) -> Array:
    """A place near the middle that is far from where the objects start, of a few that are drawn."""
    places = stage.size * (0.5 + stage.random.uniform(-0.25, 0.25, (6, 2)))
    starts = np.array([role.keys[0.0] for role in stage.roles])
    return np.asarray(places[np.argmax(np.hypot(*(places[:, None] - starts).transpose(2, 0, 1)).min(axis=1))])


def _return(stage: Stage) -> None:
    """The first object leaves the frame, stays away and comes back, over the same border or another."""
    random, role, last = stage.random, stage.roles[0], stage.frames - 1
    role.depth, role.swells = 1.5, False
    if stage.frames < 24:
        role.family, role.radius = str(random.choice(_COMPACT)), min(role.radius, stage.radius(_CALM_AREA))
        way, away = 1.9, random.uniform(1.6, max(0.4 * last - 1, 1.7))
    else:
        way, away = random.uniform(3, 5), min(random.uniform(9.5, 12) + 0.15 * (stage.frames - 24), 0.6 * last)
    leave = random.uniform(0, max(last - 2 * way - away - 2, 0))
    reach = _REACH * role.radius
    exit_, entry = stage.outside(reach, near=role.keys[0.0]), stage.outside(reach)
    inside, back = stage.near_edge(role.radius, exit_), leave + way + away
    before = {time: point for time, point in role.keys.items() if 0 < time < leave - 4} | {0.0: role.keys[0.0] if leave >= 4 else inside}
    after = {time: point for time, point in role.keys.items() if time > back + way + 4}
    outside = stage.detour(exit_, entry, leave + way, back)
    role.keys = before | {leave: inside} | outside | {back + way: stage.near_edge(role.radius, entry)} | after


def _add_passer(stage: Stage) -> None:
    """Something that comes in later and crosses the frame, often over the first object."""
    random = stage.random
    role = Role(stage.radius(_AREA), {}, random.uniform(0, 1.4), tracked=False)
    when, _, where = _meeting(stage)
    if random.random() < 0.6:
        where = stage.path(stage.roles[0])[min(int(np.searchsorted(stage.times, when)), len(stage.times) - 1)]
    role.keys = sweeping(stage, _REACH * role.radius, {when: where})
    stage.roles.append(role)


def _add_bystander(stage: Stage) -> None:
    """Something that stands about or walks, in view from the start."""
    role = Role(stage.radius((0.01, 0.05)), {}, stage.random.random(), tracked=False)
    role.keys = stage.walk(stage.random.uniform(0.1, 0.9, 2) * stage.size)
    if stage.random.random() < 0.5:
        role.anchored_at = 0.0
    stage.roles.append(role)


def _add_twin(stage: Stage) -> None:
    """Something that is not tracked, looks like the first object and crosses its way."""
    first = stage.roles[0]
    when, around, _ = _meeting(stage)
    where = stage.path(first)[min(int(np.searchsorted(stage.times, when)), len(stage.times) - 1)] + stage.random.normal(0, 0.7, 2) * first.radius
    keys: Keys = stage.walk(stage.random.uniform(0.1, 0.9, 2) * stage.size)
    role = Role(first.radius * stage.random.uniform(0.85, 1.15), passing(stage, keys, when, around, where), stage.random.random(), tracked=False)
    role.like, role.family = 0, first.family
    stage.roles.append(role)

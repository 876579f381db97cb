"""What videos show and what their owners do: prompts, corrections, objects that come and go. A seed draws it; answers are recorded once, alone."""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

import numpy as np

from benchmarks.films import SIZE, digest
from benchmarks.steady import jpeg, to_and_fro
from masklet import Tracker
from masklet.inputs import FrameLike
from masklet_build.clips import Clip, bounding_box, inner_point, make_clip

_CLIP_FRAMES = 16
_OBJECTS = 4  # at most, of a video
_ADDED, _REMOVED, _CORRECTED, _REFINED = 0.06, 0.04, 0.05, 0.05  # chance per frame


@dataclass(frozen=True)
class Step:
    """One frame that is sent. What comes before it: removals of objects, then prompts (arguments of `Video.prompt`)."""

    frame: FrameLike
    removals: tuple[int, ...] = ()
    prompts: tuple[dict[str, Any], ...] = ()
    refine: bool = False


@dataclass
class Script:
    """The steps of a video. Any first part of them is a video too.

    expected  index and digest of the answer to each step when nothing else is there
    """

    steps: list[Step]
    expected: list[tuple[int, str]] = field(default_factory=list)


def scripts(seed: int, count: int, steps: int) -> list[Script]:
    """So many scripts, of at least so many steps. Half of them send JPEG files, half arrays."""
    return [Script(_steps(random.Random(f"script {seed} {number}"), number, steps)) for number in range(count)]


def answers(url: str, script: Script, stopping: threading.Event) -> Iterator[tuple[int, str]]:
    """Plays a script as fast as it is answered. Raises MaskletError, and KeyboardInterrupt where it is stopped."""
    with Tracker(url) as tracker, tracker.open() as video:
        for step in script.steps:
            if stopping.is_set():
                raise KeyboardInterrupt("stopped before the first minute")
            for object_id in step.removals:
                video.remove(object_id)
            for prompt in step.prompts:
                video.prompt(**prompt)
            result = video.track(step.frame, refine=step.refine)
            yield result.frame_index, digest(result)


def _steps(chance: random.Random, number: int, count: int) -> list[Step]:
    objects = chance.randint(1, _OBJECTS)
    clip = make_clip("test", number, frames=_CLIP_FRAMES, height=SIZE[0], width=SIZE[1], objects=objects)
    pictures: list[FrameLike] = [jpeg(frame) if number % 2 else frame for frame in clip.frames]
    places = chain([0], to_and_fro(list(range(_CLIP_FRAMES))))
    live = set(range(chance.randint(1, objects)))
    steps = [Step(pictures[next(places)], prompts=tuple(_prompt(chance, clip, 0, one) for one in sorted(live)))]
    while len(steps) < count:
        steps += _next(chance, clip, next(places), live, pictures)
    return steps


def _next(chance: random.Random, clip: Clip, place: int, live: set[int], pictures: Sequence[FrameLike]) -> Iterator[Step]:
    """The step at one frame of the clip, and at times a refinement of it. Changes `live`."""
    seen = {one for one in range(clip.masks.shape[1]) if clip.masks[place, one].any()}
    removals, prompts = [], []
    if len(live) > 1 and chance.random() < _REMOVED:
        removals.append(chance.choice(sorted(live)))
        live -= {*removals}
    if (new := sorted(seen - live - {*removals})) and chance.random() < _ADDED:
        live.add(new[0])
        prompts.append(_prompt(chance, clip, place, new[0]))
    elif (known := sorted(seen & live)) and chance.random() < _CORRECTED:
        prompts.append(_prompt(chance, clip, place, chance.choice(known)))
    yield Step(pictures[place], tuple(one + 1 for one in removals), tuple(prompts))
    if (known := sorted(seen & live)) and chance.random() < _REFINED:
        click = {"object_id": chance.choice(known) + 1, "points": [_beside(clip, place)], "labels": [0], "append": True}
        yield Step(pictures[place], prompts=(click,), refine=True)


def _prompt(chance: random.Random, clip: Clip, place: int, one: int) -> dict[str, Any]:
    """A click or a box."""
    mask = clip.masks[place, one]
    where = {"box": list(bounding_box(mask))} if chance.random() < 0.3 else {"points": [inner_point(mask)]}
    return {"object_id": one + 1, **where}


def _beside(clip: Clip, place: int) -> tuple[int, int]:
    """A point of the background."""
    rows, columns = np.nonzero(~clip.masks[place].any(axis=0))
    middle = len(rows) // 2
    return int(columns[middle]), int(rows[middle])

"""Random films: all that a client does with one video. Everything about a film follows from a seed and its number."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any

import numpy as np

from masklet import AsyncTracker, AsyncVideo, TrackedFrame
from masklet.errors import RequestError
from tests.serving.bad_requests import TRUNCATED
from tests.serving.clips import clip, encoded

LONGEST = 16  # frames; the bars for early frames hold up to there
OBJECTS = 6  # ids that a film chooses from
PROMPTS_IN = 0.15  # chance of prompts on a frame in the middle; so further down
REFINED, REMOVED, MOVED, BAD = 0.12, 0.1, 0.06, 0.05

Prompts = dict[int, dict[str, Any]]
Outcome = TrackedFrame | RequestError | None  # None: of a removal


@dataclass(frozen=True)
class Step:
    """One request, or `move`: the video goes on from a snapshot under another id.

    kind     track, refine, remove, move; bad frame, bad prompt: refused, and the video goes on
    frame    what is sent: an array, file bytes, or nothing
    prompts  by object; of `remove` only the object counts
    """

    kind: str
    frame: np.ndarray | bytes | None
    prompts: Prompts

    def request(self, video: AsyncVideo) -> Coroutine[Any, Any, Outcome]:
        """The request, not sent yet; but prompts are given now."""
        if self.kind == "remove":
            return video.remove(*self.prompts)
        for object_id, prompt in self.prompts.items():
            video.prompt(object_id, **prompt)
        assert self.frame is not None
        return video.track(self.frame, logits=True, refine=self.kind == "refine")


@dataclass(frozen=True)
class Film:
    """in_flight: requests on their way at a time. ends: whether its video is ended, or left live and silent, as is the one it moved from."""

    number: int
    in_flight: int
    ends: bool
    steps: list[Step]


def make_film(seed: int, number: int) -> Film:
    rng = np.random.default_rng((seed, number))
    height, width, length = int(rng.integers(40, 140)), int(rng.integers(40, 140)), 1 + int(LONGEST * rng.random() ** 2)  # many short, some long
    files = rng.random() < 0.4
    known: set[int] = set()
    steps: list[Step] = []
    for index, frame in enumerate(clip(length, height, width, seed=1000 * seed + number)):
        steps += _at_frame(rng, index, encoded(frame) if files else frame, (height, width), known)
    return Film(number, int(rng.integers(1, 5)), bool(rng.random() < 0.85), steps)


def _at_frame(rng: np.random.Generator, index: int, frame: np.ndarray | bytes, size: tuple[int, int], known: set[int]) -> list[Step]:
    """What happens at one frame. `known` are the objects of the video."""
    steps = []
    if rng.random() < BAD:
        steps.append(Step("bad frame", TRUNCATED.tensors["FRAME_ENCODED"], {}))
    if rng.random() < BAD:
        steps.append(Step("bad prompt", frame, {0: {"points": [(size[1] + 1, 1)]}}))
    count = int(rng.integers(0, 5)) if index == 0 else int(rng.integers(1, 3)) * (rng.random() < PROMPTS_IN)
    prompts = {int(object_id): _prompt(rng, size) for object_id in rng.permutation(OBJECTS)[:count]}
    known |= set(prompts)
    steps.append(Step("track", frame, prompts))
    if known and rng.random() < REFINED:
        steps.append(Step("refine", frame, {int(rng.choice(sorted(known))): _prompt(rng, size)}))
    if known and rng.random() < REMOVED:
        removed = int(rng.choice(sorted(known)))
        known.remove(removed)
        steps.append(Step("remove", None, {removed: {}}))
    if rng.random() < MOVED:
        steps.append(Step("move", None, {}))
    return steps


def _prompt(rng: np.random.Generator, size: tuple[int, int]) -> dict[str, Any]:
    height, width = size
    x, y = rng.uniform(0.2, 0.7) * width, rng.uniform(0.2, 0.7) * height
    kind = rng.integers(0, 3)
    if kind == 0:
        count = int(rng.integers(1, 4))
        return {"points": rng.uniform(0, (width, height), (count, 2)), "labels": [1, *rng.integers(0, 2, count - 1).tolist()]}
    if kind == 1:
        return {"box": (x / 2, y / 2, x + 10, y + 10)}
    return {"mask": np.hypot(*np.mgrid[-y : height - y, -x : width - x][:, :height, :width]) < 14}


async def play(tracker: AsyncTracker, film: Film) -> list[Outcome]:
    """Outcomes of all steps but moves. Tasks send in the order in which they were made."""
    outcomes: list[Outcome] = []
    on_their_way: deque[asyncio.Task[Outcome]] = deque()
    video = await tracker.open()
    for step in film.steps:
        while len(on_their_way) >= (1 if step.kind == "move" else film.in_flight):
            outcomes.append(await on_their_way.popleft())
        if step.kind == "move":
            video = await _moved(tracker, video, film.ends)
            continue
        on_their_way.append(asyncio.create_task(_outcome(step.request(video))))
        await asyncio.sleep(0)  # the task sends, and takes the prompts with it
    outcomes += [await task for task in on_their_way]
    if film.ends:
        await video.close()
    return outcomes


async def _moved(tracker: AsyncTracker, video: AsyncVideo, ends: bool) -> AsyncVideo:
    state = await video.snapshot()
    if ends:
        await video.close()
    return await tracker.open(state=state)


async def _outcome(request: Coroutine[Any, Any, Outcome]) -> Outcome:
    try:
        return await request
    except RequestError as error:
        return error

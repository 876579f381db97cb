"""Random sequences of calls that a client may make, over several videos at once. Some leave their videos behind."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import numpy as np

from benchmarks.fuzz.kinds.frames import file
from benchmarks.fuzz.kinds.parameters import wrong_values
from benchmarks.fuzz.kinds.prompts import HEIGHT, WIDTH, click, one_thing_wrong
from benchmarks.fuzz.messages import Content, Message, some_id, token
from benchmarks.fuzz.registry import World, kind

_FILES = (("JPEG", {"quality": 90}), ("PNG", {}), ("WEBP", {}), ("JPEG", {"quality": 30}))


def step(rng: random.Random, index: int, options: dict[str, Any] | None = None) -> Content:
    """One good frame, or a control request, with or without prompts."""
    if rng.random() < 0.08:
        return Content({"PROMPTS": [{"object": rng.randrange(4), "remove": True}]})
    form, given = rng.choice(_FILES)
    prompts: list[Any] = [_prompt(rng, number) for number in rng.sample(range(4), rng.choice([0, 0, 0, 1, 2]) if index else 1)]
    parameters = {**_options(rng, index), **(options or {})}
    return Content({"FRAME_ENCODED": file(form, **given), "PROMPTS": prompts}, parameters)


def _prompt(rng: random.Random, number: int) -> dict[str, Any]:
    if rng.random() < 0.3:
        x, y = rng.uniform(0, WIDTH - 30), rng.uniform(0, HEIGHT - 30)
        return {"object": number, "box": [x, y, x + 25, y + 25]}
    changes = rng.choice([{}, {}, {"append": True}, {"clear": True}, {"labels": [0]}])
    return click(rng, object=number, **changes)


def _options(rng: random.Random, index: int) -> dict[str, Any]:
    chance = rng.random()
    if chance < 0.1:
        return {"refine": True}
    if chance < 0.2:
        return {"track": False}
    if chance < 0.3:
        return {"frame_index": rng.choice([index, index + 1, index + 7, max(0, index - 3)]), "reverse": rng.random() < 0.4}
    if chance < 0.4:
        return rng.choice([{"snapshot": True}, {"logits": True}, {"masks": "png"}, {"masks": "bitmap"}, {"masks": "none"}])
    return {}


@kind("script", 1.5)
def several_videos(rng: random.Random, world: World) -> Iterator[Message]:
    """Good calls with a bad one now and then; each video has an owner, and ends."""
    videos = [some_id(rng) for _ in range(rng.randint(1, 3))]
    begun: dict[int, int] = {}
    for _ in range(rng.randint(3, 12)):
        name = rng.choice(videos)
        index = begun.get(name, 0)
        content = step(rng, index) if rng.random() < 0.85 or not index else rng.choice([wrong_values, one_thing_wrong])(rng, world)
        yield Content(content.tensors, {"owner": str(name), **content.parameters}).message(name, start=not index, token=token(rng))
        begun[name] = index + 1
    for name in begun:
        yield Content({"PROMPTS": b"[]"}, {"owner": str(name)}).message(name, end=True, token=token(rng))


@kind("script", 0.3)
def restored(rng: random.Random, world: World) -> Iterator[Message]:
    """A video goes on from the snapshot, is prompted, and ends."""
    name = some_id(rng)
    yield Content({"STATE": np.frombuffer(world.snapshot, np.uint8)}).message(name, start=True, token=token(rng))
    for index in range(rng.randint(1, 4)):
        yield step(rng, 20 + index).message(name, token=token(rng))
    yield Content({"PROMPTS": b"[]"}).message(name, end=True, token=token(rng))


@kind("script", 0.2)
def left_behind(rng: random.Random, world: World) -> Iterator[Message]:
    """Never ended: the server has to forget it."""
    name = some_id(rng)
    for index in range(rng.randint(1, 3)):
        yield step(rng, index).message(name, start=not index, token=token(rng))


@kind("script", 0.3)
def prompted_ahead(rng: random.Random, world: World) -> Iterator[Message]:
    """Prompts on many frames before tracking, over every cap."""
    name = some_id(rng)
    frames = sorted(rng.sample(range(100), rng.choice([3, 10, 12])))
    for number, index in enumerate(frames):
        content = Content({"FRAME_ENCODED": file("PNG"), "PROMPTS": [click(rng, object=1)]}, {"track": False, "frame_index": index})
        yield content.message(name, start=not number, token=token(rng))
    for index in range(2):
        yield Content({"FRAME_ENCODED": file("PNG"), "PROMPTS": b"[]"}, {"frame_index": index}).message(name, token=token(rng), end=index == 1)


@kind("script", 0.2)
def many_objects(rng: random.Random, world: World) -> Iterator[Message]:
    """As many objects as there may be, and more."""
    name = some_id(rng)
    for number in range(2):
        prompts = [{"object": 32 * number + one, "points": [[one, one]], "labels": [1]} for one in range(32)]
        yield Content({"FRAME_ENCODED": file("PNG"), "PROMPTS": prompts}).message(name, start=not number, end=number == 1, token=token(rng))

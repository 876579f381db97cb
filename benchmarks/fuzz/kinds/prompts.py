"""Prompts: any JSON, and prompts that are wrong, too many or too large."""

from __future__ import annotations

import json
import random
from functools import cache
from typing import Any

import numpy as np

from benchmarks.fuzz.kinds.frames import black, picture
from benchmarks.fuzz.messages import Content
from benchmarks.fuzz.registry import World, kind
from masklet import rle

_ODD = (None, True, False, 0, -1, 1, 2**31, 2**63, -(2**63), 10**400, 0.5, -0.3, float("nan"), float("inf"), 1e308, "", "1", "x" * 1000, [], {}, [[]])
_KEYS = ("object", "points", "labels", "box", "mask", "append", "clear", "remove", "point", "", "size")
HEIGHT, WIDTH = picture().shape[:2]


def said(prompts: Any, frame: np.ndarray | None = None) -> Content:
    """A request with a small frame and these prompts: bytes as they are, or something that becomes JSON."""
    data = prompts if isinstance(prompts, bytes) else json.dumps(prompts).encode()
    return Content({"FRAME": picture() if frame is None else frame, "PROMPTS": data})


def click(rng: random.Random, **changes: Any) -> dict[str, Any]:
    """A good click on one of a few objects."""
    return {"object": rng.randrange(4), "points": [[rng.uniform(0, WIDTH), rng.uniform(0, HEIGHT)]], "labels": [1], **changes}


def _anything(rng: random.Random, depth: int = 0) -> Any:
    if depth > 4 or rng.random() < 0.4:
        return rng.choice(_ODD)
    if rng.random() < 0.5:
        return [_anything(rng, depth + 1) for _ in range(rng.randrange(5))]
    return {rng.choice(_KEYS): _anything(rng, depth + 1) for _ in range(rng.randrange(5))}


@kind("content", 4)
def any_json(rng: random.Random, world: World) -> Content:
    return said(_anything(rng))


@kind("content", 4)
def one_thing_wrong(rng: random.Random, world: World) -> Content:
    return said([click(rng, **{rng.choice(_KEYS): _anything(rng, 3)})])


@kind("content", 1)
def not_json(rng: random.Random, world: World) -> Content:
    text = json.dumps([click(rng)]).encode()
    return said(
        rng.choice(
            [
                b"",
                b"\xff\xfe",
                text[: rng.randrange(len(text))],
                text + text,
                rng.randbytes(100),
                b"\x00" * 100,
                b"[" + text,
                text.decode().encode("utf-16"),
            ]
        )
    )


@kind("content", 0.7)
def deep_nesting(rng: random.Random, world: World) -> Content:
    depth = rng.choice([50, 1000, 100_000, 1_000_000])
    inner = rng.choice([(b"[", b"]"), (b'{"a":', b"}")])
    return said(inner[0] * depth + b"1" + inner[1] * depth if rng.random() < 0.7 else inner[0] * depth)


@kind("content", 0.7)
def huge_numbers(rng: random.Random, world: World) -> Content:
    number = rng.choice([b"9" * 5000, b"1e400", b"-1e400", b"NaN", b"Infinity", b"0." + b"3" * 100_000, b"9" * 100_000, b"-9223372036854775809"])
    return said(b'[{"object": ' + number + b"}]" if rng.random() < 0.5 else b'[{"object": 1, "labels": [1], "points": [[' + number + b", 1]]}]")


@kind("content", 0.7)
def thousands_of_prompts(rng: random.Random, world: World) -> Content:
    count = rng.choice([33, 1000, 20_000])
    return said([{"object": number, "points": [[1, 1]], "labels": [1]} for number in range(count)])


@kind("content", 0.7)
def thousands_of_points(rng: random.Random, world: World) -> Content:
    count = rng.choice([64, 65, 1000, 50_000])
    return said([click(rng, points=[[1, 1]] * count, labels=[1] * count)])


@kind("content", 2)
def points_outside(rng: random.Random, world: World) -> Content:
    x, y = rng.choice([-0.3, -1, WIDTH + 0.5, WIDTH * 2, 1e9, -1e30]), rng.choice([-0.3, 1, HEIGHT + 0.01, 1e38])
    return said([click(rng, points=[[x, y]])])


@kind("content", 2)
def boxes(rng: random.Random, world: World) -> Content:
    """Turned, empty, outside, and of the wrong length."""
    corners = [rng.choice([-5, 0, 3, 20, 20.0001, WIDTH, WIDTH + 5, 1e20]) for _ in range(rng.choice([4, 4, 4, 3, 5, 0]))]
    return said([{"object": rng.randrange(4), "box": corners}])


@kind("content", 1)
def same_object_twice(rng: random.Random, world: World) -> Content:
    return said([click(rng, object=1), click(rng, object=1), click(rng, object=1, append=True)][: rng.randint(2, 3)])


@kind("content", 1)
def keys_that_exclude_each_other(rng: random.Random, world: World) -> Content:
    extra = {"box": [1, 1, 30, 30], "mask": _mask(HEIGHT, WIDTH), "append": True, "clear": True, "remove": True}
    return said([click(rng, **{name: extra[name] for name in rng.sample(sorted(extra), rng.randint(1, 4))})])


@kind("content", 1)
def unknown_objects(rng: random.Random, world: World) -> Content:
    return said([{"object": rng.choice([77, 2**40, 2**63 - 1]), rng.choice(["remove", "clear"]): True}])


@cache
def _mask(height: int, width: int) -> rle.Rle:
    mask = np.zeros((height, width), np.bool_)
    mask[height // 4 : height // 2, width // 4 : width // 2] = True
    return rle.encode(mask)


@kind("content", 3)
def damaged_masks(rng: random.Random, world: World) -> Content:
    good = _mask(HEIGHT, WIDTH)
    text = good["counts"]
    place = rng.randrange(len(text))
    counts = rng.choice(
        [
            "",
            "0",
            "\x7f",
            "é",
            text[:place],
            text + text,
            text[:place] + rng.choice("0o~P`n") + text[place + 1 :],
            "o" * 100_000,
            "1" * 200_000,
            5,
            None,
            [1, 2],
        ]
    )
    size = rng.choice([good["size"]] * 4 + [[WIDTH, HEIGHT], [0, 0], [-1, 5], [65_535, 65_535], [2**40, 2**40], "ab", [HEIGHT], [1.0, 2.0]])
    return said([{"object": 1, "mask": {"size": size, "counts": counts}}])


@kind("content", 0.15)
def many_large_masks(rng: random.Random, world: World) -> Content:
    """As many masks as prompts are allowed, in a small file of a large frame."""
    height, width, count = rng.choice([(2160, 4096, 32), (1080, 1920, 32), (1080, 1920, 8), (2160, 4096, 2)])
    prompts = [{"object": number, "mask": _mask(height, width)} for number in range(count)]
    return Content({"FRAME_ENCODED": black(width, height), "PROMPTS": json.dumps(prompts).encode()})


@kind("content", 0.5)
def checkered_mask(rng: random.Random, world: World) -> Content:
    """A mask with as many runs as pixels."""
    return said([{"object": 1, "mask": _checkered()}])


@cache
def _checkered() -> rle.Rle:
    return rle.encode(np.indices((HEIGHT, WIDTH)).sum(0) % 2 == 0)


@kind("content", 0.3)
def long_text(rng: random.Random, world: World) -> Content:
    """At the limit of bytes, and above it."""
    return said(b"[" + b" " * rng.choice([100_000, (2 << 20) - 2, (2 << 20) + 1, 8 << 20]) + b"]")

"""STATE: damaged, forged and oversized snapshots."""

from __future__ import annotations

import json
import random
import struct
from typing import Any

import numpy as np

from benchmarks.fuzz.kinds.frames import mutated, picture
from benchmarks.fuzz.messages import Content
from benchmarks.fuzz.registry import World, kind

_BEGIN = b"MASKLET\x01"
_ODD = (None, -1, 0, 1, 2**63, 2**70, 0.5, float("nan"), "", "x", [], {}, [[]], True, [0] * 50, 10**300)


def state(data: bytes, **parameters: Any) -> Content:
    """A request to begin from these bytes."""
    return Content({"STATE": np.frombuffer(data, np.uint8), "PROMPTS": b"[]"}, parameters)


def _split(snapshot: bytes) -> tuple[dict[str, Any], bytes]:
    (length,) = struct.unpack("<Q", snapshot[8:16])
    return json.loads(snapshot[16 : 16 + length]), snapshot[16 + length :]


def _joined(header: Any, body: bytes, begin: bytes = _BEGIN) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return begin + struct.pack("<Q", len(text)) + text + body


@kind("content", 1)
def random_bytes(rng: random.Random, world: World) -> Content:
    begin = rng.choice([b"", _BEGIN, _BEGIN[:4], b"MASKLET\x02", _BEGIN + struct.pack("<Q", rng.choice([0, 1, 10, 2**40, 2**64 - 1]))])
    return state(begin + rng.randbytes(rng.choice([0, 1, 20, 1000])))


@kind("content", 2)
def mutated_snapshot(rng: random.Random, world: World) -> Content:
    """Changed in its header mostly, where it is small."""
    length = len(world.snapshot) - len(_split(world.snapshot)[1])
    return state(mutated(rng, world.snapshot[:length]) + world.snapshot[length:] if rng.random() < 0.8 else mutated(rng, world.snapshot))


@kind("content", 2)
def changed_header(rng: random.Random, world: World) -> Content:
    """One value of the header, anywhere in it, is another."""
    header, body = _split(world.snapshot)
    place: Any = header
    while True:
        keys = list(place) if isinstance(place, dict) else list(range(len(place)))
        if not keys:
            break
        key = rng.choice(keys)
        if isinstance(place[key], dict | list) and place[key] and rng.random() < 0.8:
            place = place[key]
            continue
        place[key] = rng.choice(_ODD)
        break
    return state(_joined(header, body))


@kind("content", 1)
def header_too_long(rng: random.Random, world: World) -> Content:
    """A header that takes a hundred times its size as objects of Python."""
    count = rng.choice([1000, 100_000, 1_000_000])
    return state(
        _joined(
            rng.choice([b'{"identity":[' + b"[]," * count + b"[]]}", b"[" * count, b'{"a":' * count, b"[" + b"{}," * count + b"1]", b"9" * count]),
            b"",
        )
    )


@kind("content", 1)
def announced_arrays(rng: random.Random, world: World) -> Content:
    """Terabytes of arrays, or millions of empty ones."""
    header, body = _split(world.snapshot)
    header["arrays"] = rng.choice(
        [
            [["<f4", [2**40]]],
            [["<f4", [2**31, 2**31, 2**31]]],
            [["<f4", [0]]] * 100_000,
            [["<f4", [0, 2**62]]],
            [["<f4", [-1]]],
            [["|O", [1]]],
            [["<f4", [1] * 5000]],
        ]
    )
    return state(_joined(header, body))


@kind("content", 1)
def many_objects(rng: random.Random, world: World) -> Content:
    """The one object again and again, or with everything that it remembers doubled."""
    header, body = _split(world.snapshot)
    count = rng.choice([2, 33, 1000, 20_000])
    if header.get("objects"):
        first = header["objects"][0]
        if rng.random() < 0.5:
            header["objects"] = [{**first, "id": number} for number in range(count)]
        else:
            for name, value in first.items():
                if isinstance(value, list):
                    first[name] = value * count
            first["trusted"] = list(range(count))
    return state(_joined(header, body))


@kind("content", 1)
def another_identity(rng: random.Random, world: World) -> Content:
    header, body = _split(world.snapshot)
    name = rng.choice(sorted(header.get("identity") or {"variant": ""}))
    header["identity"] = {**header.get("identity", {}), name: rng.choice(["sam2.1_t", "", 1, None, "2", "x" * 100_000])}
    return state(_joined(header, body))


@kind("content", 1)
def poisoned_numbers(rng: random.Random, world: World) -> Content:
    """NaN and infinity in the arrays, which only spoil the video that begins from them."""
    header, body = _split(world.snapshot)
    numbers = bytearray(body)
    for _ in range(50):
        place = rng.randrange(max(1, len(numbers) // 4 - 1)) * 4
        numbers[place : place + 4] = struct.pack("<f", rng.choice([float("nan"), float("inf"), -float("inf"), 3e38]))
    return state(_joined(header, bytes(numbers)))


@kind("content", 0.5)
def good_snapshot(rng: random.Random, world: World) -> Content:
    return state(world.snapshot)


@kind("content", 0.5)
def with_a_frame(rng: random.Random, world: World) -> Content:
    return Content({"STATE": np.frombuffer(world.snapshot, np.uint8), "FRAME": picture(), "PROMPTS": b"[]"})


@kind("content", 0.1)
def large(rng: random.Random, world: World) -> Content:
    return state(_BEGIN + bytes(rng.choice([1 << 20, 20 << 20])))

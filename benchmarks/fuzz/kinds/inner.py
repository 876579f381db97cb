"""The models behind the tracker, called by name: with odd tensors, and with what other models answered."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from benchmarks.fuzz.kinds.frames import file, picture
from benchmarks.fuzz.kinds.prompts import click
from benchmarks.fuzz.messages import Content, Message, Raw, some_id, tensor, token
from benchmarks.fuzz.registry import INNER, Loot, Outputs, World, kind
from masklet.contract import NUMPY_DTYPES

_SIZES = (0, 1, 2, 3, 5)


def call(rng: random.Random, model: str, tensors: Mapping[str, Raw], **changes: Any) -> Message:
    """A call of an inner model, as a video of its own unless told otherwise."""
    given = {"video_id": some_id(rng), "start": True, "end": True, "token": token(rng), **changes}
    return Content(tensors).message(given.pop("video_id"), model=model, **given)


def _tensor(rng: random.Random, datatype: str, dims: tuple[int, ...], free: int | None) -> Raw:
    """A tensor of the type and dimensions that a model has, its values odd. free: the size of dimensions that may have any; None: odd ones."""
    if datatype == "BYTES" or (datatype == "UINT8" and len(dims) == 2):
        text = rng.choice([b"", b"{}", b"[]", b"null", b"MASKLET_X: y", b"\xff", b'{"version": 3}', rng.randbytes(50)])
        return tensor(text if datatype == "BYTES" else np.frombuffer(text, np.uint8))
    dtype = np.dtype(NUMPY_DTYPES[datatype])
    odd = (0.0, 1.0, -5.0, float("nan"), float("inf"), 1e38) if dtype.kind == "f" else (0, 1, 7, np.iinfo(dtype).max, np.iinfo(dtype).min)
    shape = [rng.choice(_SIZES) if side < 0 and free is None else free if side < 0 else side for side in dims[1:]]
    return tensor(np.full(shape, rng.choice(odd), dtype))


def _fitting(rng: random.Random, world: World, model: str) -> dict[str, Raw]:
    """Every input of a model, with its type."""
    free = rng.choice([None, *_SIZES])
    return {name: _tensor(rng, datatype, dims, free) for name, (datatype, dims) in world.models[model].items()}


def _newest(rng: random.Random, world: World, model: str) -> Loot:
    return rng.choice([loot for loot in [*world.loot] if loot.model == model] or [Loot(model, {}, 1, "")])


def _likest(world: World, model: str, outputs: Outputs) -> Loot:
    """The answer of a model that shares most with other tensors: that of the same request, where a tensor says so."""
    found = [loot for loot in [*world.loot] if loot.model == model] or [Loot(model, {}, 1, "")]
    return max(found, key=lambda loot: sum(loot.outputs.get(name) == raw for name, raw in outputs.items()))


def _for_bank(rng: random.Random, world: World) -> tuple[dict[str, Raw], Loot]:
    """What image_encoder and preprocess answered, put together as the tracker does, of one request or of two."""
    encoded = _newest(rng, world, "image_encoder")
    before = _likest(world, "preprocess", encoded.outputs) if rng.random() < 0.6 else _newest(rng, world, "preprocess")
    parts = {**encoded.outputs, **before.outputs}
    return {name: parts[name] for name in world.models["memory_bank"] if name in parts}, before


def _forged(rng: random.Random, one: Raw) -> Raw:
    """A tensor with a few bytes changed."""
    data = bytearray(one.data)
    for _ in range(rng.randint(1, 4) if len(data) > 4 else 0):
        data[rng.randrange(4 if one.datatype == "BYTES" else 0, len(data))] = rng.randrange(256)
    return Raw(one.datatype, one.shape, bytes(data))


@kind("script", 4)
def odd_values(rng: random.Random, world: World) -> Iterator[Message]:
    """Every tensor is there and has its type, but counts and values agree with nothing."""
    model = rng.choice(INNER)
    yield call(rng, model, _fitting(rng, world, model))


@kind("script", 3)
def tensors_missing_or_too_many(rng: random.Random, world: World) -> Iterator[Message]:
    model = rng.choice(INNER)
    tensors = _fitting(rng, world, model)
    for name in rng.sample(sorted(tensors), rng.randint(0, len(tensors))):
        del tensors[name]
    if rng.random() < 0.5:
        tensors[rng.choice(["IMAGE", "LOW", "TOKEN", "ENVELOPE", "X"])] = tensor(np.zeros(rng.choice(_SIZES), np.float32))
    yield call(rng, model, tensors)


@kind("script", 3)
def wrong_sizes(rng: random.Random, world: World) -> Iterator[Message]:
    """Shapes that the model does not have, or that do not fit the bytes."""
    model = rng.choice(INNER)
    tensors = _fitting(rng, world, model)
    name = rng.choice(sorted(tensors))
    old = tensors[name]
    shape = rng.choice([(1, 1), (1, 3, 3), (2, *old.shape[1:]), (1, 2**31 - 1), (0, *old.shape[1:]), (*old.shape, 1), old.shape[:-1]])
    tensors[name] = Raw(rng.choice([old.datatype, "FP64", "UINT8"]), shape, rng.choice([old.data, old.data[:-1], b""]))
    yield call(rng, model, tensors)


@kind("script", 1)
def huge_frame_size(rng: random.Random, world: World) -> Iterator[Message]:
    """Masks of a size that nobody could hold, of one object or of none."""
    tensors = _fitting(rng, world, "postprocess")
    low = world.models["postprocess"]["LOW"][1][-1]
    tensors["LOW"] = tensor(np.full((rng.choice([0, 1, 32]), low, low), 5, np.float32))
    if "FRAME_SIZE" in tensors:
        tensors["FRAME_SIZE"] = tensor(np.array(rng.choice([(2**31 - 1, 2**31 - 1), (-1, 5), (0, 0), (20_000, 20_000)]), np.int32))
    yield call(rng, "postprocess", tensors)


@kind("script", 2)
def loot_of_preprocess(rng: random.Random, world: World) -> Iterator[Message]:
    """A good call of the first model, at times under the id of an honest video: what it answers is what the next kinds send on."""
    frame = {"FRAME_ENCODED": tensor(file("PNG")), "PROMPTS": tensor([click(rng, object=1)])}
    yield call(
        rng, "preprocess", frame, **({"video_id": world.somebody(rng), "start": rng.random() < 0.5, "end": False} if rng.random() < 0.3 else {})
    )


@kind("script", 2)
def loot_of_the_encoder(rng: random.Random, world: World) -> Iterator[Message]:
    """What preprocess answered goes to the encoder, whole or with another picture."""
    before = _newest(rng, world, "preprocess")
    tensors = {name: before.outputs[name] for name in world.models["image_encoder"] if name in before.outputs}
    if tensors and rng.random() < 0.3:
        name = rng.choice(sorted(tensors))
        tensors[name] = _forged(rng, tensors[name])
    same = {"video_id": before.video_id, "token": before.token, "end": False} if rng.random() < 0.7 else {}
    yield call(rng, "image_encoder", tensors, **same)


@kind("script", 3)
def replayed(rng: random.Random, world: World) -> Iterator[Message]:
    """Answers of the first models go to the bank, under their own id again or another, with their own request id or another."""
    tensors, before = _for_bank(rng, world)
    changes: dict[str, Any] = {"end": rng.random() < 0.8}
    if rng.random() < 0.5:
        changes["token"] = before.token if rng.random() < 0.7 else world.somebodys_token(rng)
    if rng.random() < 0.4:
        changes |= {"video_id": before.video_id, "end": False}
    yield call(rng, "memory_bank", tensors, **changes)


@kind("script", 3)
def forged(rng: random.Random, world: World) -> Iterator[Message]:
    """The same with bytes changed."""
    tensors, before = _for_bank(rng, world)
    for name in rng.sample(sorted(tensors), min(len(tensors), rng.randint(1, 2))):
        tensors[name] = _forged(rng, tensors[name])
    yield call(rng, "memory_bank", tensors, **({"video_id": before.video_id, "token": before.token, "end": False} if rng.random() < 0.5 else {}))


@kind("script", 2)
def replayed_under_ids_of_others(rng: random.Random, world: World) -> Iterator[Message]:
    """No END: see World.dangerous."""
    yield call(rng, "memory_bank", _for_bank(rng, world)[0], video_id=world.somebody(rng), start=rng.random() < 0.5, end=False)


@kind("script", 2)
def what_the_bank_said(rng: random.Random, world: World) -> Iterator[Message]:
    """What the bank answered goes to postprocess, whole or changed."""
    before = _newest(rng, world, "memory_bank")
    tensors = {name: before.outputs[name] for name in world.models["postprocess"] if name in before.outputs}
    if tensors and rng.random() < 0.7:
        name = rng.choice(sorted(tensors))
        tensors[name] = _forged(rng, tensors[name])
    yield call(rng, "postprocess", tensors, **({"video_id": before.video_id, "token": before.token} if rng.random() < 0.5 else {}))


@kind("script", 1)
def raw_to_the_encoder(rng: random.Random, world: World) -> Iterator[Message]:
    image = rng.choice([picture(), np.zeros((0, 0, 3), np.uint8), np.zeros((2048, 2048, 3), np.uint8)])
    yield call(rng, "image_encoder", {**_fitting(rng, world, "image_encoder"), "IMAGE": tensor(image)})


@kind("script", 2)
def broken_strings(rng: random.Random, world: World) -> Iterator[Message]:
    """Good tensors but for one of BYTES whose length does not fit: where Triton takes it, it looks when it runs a batch, and fails all of it."""
    model = rng.choice(INNER)
    parts = {name: raw for loot in [*world.loot] for name, raw in loot.outputs.items()}
    tensors = {name: parts.get(name, raw) for name, raw in _fitting(rng, world, model).items()}
    strings = sorted(name for name, raw in tensors.items() if raw.datatype == "BYTES" or name == "ENVELOPE")
    if strings:
        tensors[rng.choice(strings)] = Raw("BYTES", (1, 1), rng.choice([b"\x0a\x00\x00\x00abc", b"\x0a", b"\xff\xff\xff\xff", b""]))
    yield call(rng, model, tensors)

"""The models behind the tracker, called by name: with odd tensors, and with what other models answered."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping

import numpy as np

from fuzz.kinds.frames import file, picture
from fuzz.kinds.prompts import click
from fuzz.messages import Content, Message, Raw, some_id, tensor, token
from fuzz.registry import Outputs, World, kind
from masklet import contract
from masklet.families import NANO

_MODELS = {model.name: model for model in (contract.preprocess(NANO), contract.image_encoder(NANO), contract.memory_bank(NANO), contract.POSTPROCESS)}
_SIZES = (0, 1, 2, 3, 5)
_MOST_BYTES = 4 << 20


def call(rng: random.Random, model: str, tensors: Mapping[str, Raw], **changes: object) -> Message:
    """A call of an inner model, as a video of its own unless told otherwise."""
    given = {"video_id": some_id(rng), "start": True, "end": True, "token": token(rng), **changes}
    return Content(tensors).message(given.pop("video_id"), model=model, **given)  # type: ignore[arg-type]


def _array(rng: random.Random, one: contract.Tensor, free: Mapping[str, int]) -> Raw:
    """A tensor that fits the contract, its free dimensions as `free` says or odd, its values odd."""
    dims = [side if isinstance(side, int) else free.get(side, rng.choice(_SIZES)) for side in contract.resolve(one.dims, NANO)]
    if one.dtype == "BYTES":
        said = rng.choice([b"", b"{}", b"[]", b"null", b"MASKLET_X: y", b"\xff", b'{"version": 3}', rng.randbytes(50)])
        return tensor(said)
    dtype = one.numpy_dtype
    if dtype.kind == "f":
        value = rng.choice([0.0, 1.0, -5.0, float("nan"), float("inf"), 1e38])
    else:
        value = rng.choice([0, 1, 7, np.iinfo(dtype).max, np.iinfo(dtype).min])
    return tensor(np.full(dims, value, dtype))


def _fitting(rng: random.Random, model: str) -> dict[str, Raw]:
    free = {letter: rng.choice(_SIZES) for letter in "nmkHWC"} if rng.random() < 0.7 else {}
    return {one.name: _array(rng, one, free) for one in _MODELS[model].inputs}


@kind("script", 4)
def odd_values(rng: random.Random, world: World) -> Iterator[Message]:
    """Every tensor is there and has its type, but counts and values agree with nothing."""
    model = rng.choice(sorted(_MODELS))
    yield call(rng, model, _fitting(rng, model))


@kind("script", 2)
def tensors_missing_or_too_many(rng: random.Random, world: World) -> Iterator[Message]:
    model = rng.choice(sorted(_MODELS))
    tensors = _fitting(rng, model)
    for name in rng.sample(sorted(tensors), rng.randint(0, len(tensors))):
        del tensors[name]
    if rng.random() < 0.5:
        tensors[rng.choice(["IMAGE", "LOW", "TOKEN", "ENVELOPE", "X"])] = tensor(np.zeros(rng.choice(_SIZES), np.float32))
    yield call(rng, model, tensors)


@kind("script", 1)
def wrong_sizes(rng: random.Random, world: World) -> Iterator[Message]:
    """Shapes that the model does not have, or that do not fit the bytes."""
    model = rng.choice(sorted(_MODELS))
    tensors = _fitting(rng, model)
    name = rng.choice(sorted(tensors))
    old = tensors[name]
    shape = rng.choice([(1, 1), (1, 3, 3), (2, *old.shape[1:]), (1, 2**31 - 1), (0, *old.shape[1:]), (*old.shape, 1), old.shape[:-1]])
    tensors[name] = Raw(rng.choice([old.datatype, "FP64", "UINT8"]), shape, rng.choice([old.data, old.data[:-1], b""]))
    yield call(rng, model, tensors)


@kind("script", 1)
def huge_frame_size(rng: random.Random, world: World) -> Iterator[Message]:
    """Masks of a size that nobody could hold, of one object or of none."""
    names = {one.name for one in contract.POSTPROCESS.inputs}
    tensors = _fitting(rng, "postprocess")
    tensors["LOW"] = tensor(np.full((rng.choice([0, 1, 32]), NANO.low_size, NANO.low_size), 5, np.float32))
    if "FRAME_SIZE" in names:
        tensors["FRAME_SIZE"] = tensor(np.array(rng.choice([(2**31 - 1, 2**31 - 1), (-1, 5), (0, 0), (20_000, 20_000)]), np.int32))
    yield call(rng, "postprocess", tensors)


@kind("script", 2)
def loot_of_preprocess(rng: random.Random, world: World) -> Iterator[Message]:
    """Good calls of the first two models: their answers are what the next kinds send on."""
    frame = {"FRAME_ENCODED": tensor(file("PNG")), "PROMPTS": tensor([click(rng, object=1)])}
    yield call(rng, "preprocess", frame)
    yield call(rng, "image_encoder", {"IMAGE": tensor(np.full((NANO.image_size, NANO.image_size, 3), rng.randrange(256), np.uint8))})


def _looted(rng: random.Random, world: World, model: str) -> Outputs:
    return rng.choice([outputs for name, outputs in list(world.loot) if name == model] or [{}])


def _forged(rng: random.Random, one: Raw) -> Raw:
    """A tensor with a few bytes changed."""
    data = bytearray(one.data)
    for _ in range(rng.randint(1, 4) if len(data) > 4 else 0):
        data[rng.randrange(4 if one.datatype == "BYTES" else 0, len(data))] = rng.randrange(256)
    return Raw(one.datatype, one.shape, bytes(data))


def _for_bank(rng: random.Random, world: World) -> dict[str, Raw]:
    """What image_encoder and preprocess answered, put together as the tracker does."""
    parts = {**_looted(rng, world, "image_encoder"), **_looted(rng, world, "preprocess")}
    return {one.name: parts[one.name] for one in _MODELS["memory_bank"].inputs if one.name in parts}


@kind("script", 3)
def replayed(rng: random.Random, world: World) -> Iterator[Message]:
    """Answers of the first models go to the bank under another id, whole or with tensors of different requests."""
    message = call(rng, "memory_bank", _for_bank(rng, world), end=rng.random() < 0.8)
    if rng.random() < 0.5:
        message.id = world.somebodys_token(rng)
    yield message


@kind("script", 3)
def forged(rng: random.Random, world: World) -> Iterator[Message]:
    """The same with bytes changed."""
    tensors = _for_bank(rng, world)
    for name in rng.sample(sorted(tensors), min(len(tensors), rng.randint(1, 2))):
        tensors[name] = _forged(rng, tensors[name])
    yield call(rng, "memory_bank", tensors)


@kind("script", 2)
def replayed_under_ids_of_others(rng: random.Random, world: World) -> Iterator[Message]:
    """No END: see World.dangerous."""
    yield call(rng, "memory_bank", _for_bank(rng, world), video_id=world.somebody(rng), start=rng.random() < 0.5, end=False)


@kind("script", 2)
def what_the_bank_said(rng: random.Random, world: World) -> Iterator[Message]:
    """What the bank answered goes to postprocess, whole or changed."""
    tensors = {name: raw for name, raw in _looted(rng, world, "memory_bank").items() if name in {one.name for one in contract.POSTPROCESS.inputs}}
    if tensors and rng.random() < 0.7:
        name = rng.choice(sorted(tensors))
        tensors[name] = _forged(rng, tensors[name])
    yield call(rng, "postprocess", tensors)


@kind("script", 1)
def raw_to_the_encoder(rng: random.Random, world: World) -> Iterator[Message]:
    yield call(rng, "image_encoder", {"IMAGE": tensor(rng.choice([picture(), np.zeros((0, 0, 3), np.uint8), np.zeros((2048, 2048, 3), np.uint8)]))})

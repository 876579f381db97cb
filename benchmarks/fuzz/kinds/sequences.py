"""Sequence control: requests without a beginning, twice begun, under odd ids, and under ids of others."""

from __future__ import annotations

import random
from collections.abc import Iterator

from benchmarks.fuzz.kinds.frames import file, picture
from benchmarks.fuzz.kinds.prompts import click
from benchmarks.fuzz.kinds.states import changed_header, state
from benchmarks.fuzz.messages import Content, Message, some_id, token
from benchmarks.fuzz.registry import World, kind

_EMPTY = Content({"PROMPTS": b"[]"})
_ODD_IDS = (0, "", 1, "1", -1, 2**63 - 1, -(2**63), "x" * 128, "x" * 129, "x" * 100_000, "é" * 64, "a\x00b", "../../etc", "\n", " ")


def frame(rng: random.Random, **parameters: object) -> Content:
    """A good frame, with a click or without: one without objects costs the encoder only."""
    prompts = [click(rng, object=1)] if rng.random() < 0.4 else []
    return Content({"FRAME_ENCODED": file("PNG"), "PROMPTS": prompts}, parameters)


@kind("script", 4)
def no_start(rng: random.Random, world: World) -> Iterator[Message]:
    yield frame(rng).message(some_id(rng), token=token(rng), end=rng.random() < 0.3)


@kind("script", 1)
def double_start(rng: random.Random, world: World) -> Iterator[Message]:
    name = some_id(rng)
    for _ in range(rng.randint(2, 4)):
        yield frame(rng).message(name, start=True, token=token(rng))
    yield _EMPTY.message(name, end=True, token=token(rng))


@kind("script", 3)
def end_of_unknown(rng: random.Random, world: World) -> Iterator[Message]:
    yield _EMPTY.message(some_id(rng), end=True, token=token(rng))


@kind("script", 1)
def start_and_end_only(rng: random.Random, world: World) -> Iterator[Message]:
    yield _EMPTY.message(some_id(rng), start=True, end=True, token=token(rng))


@kind("script", 1)
def end_and_start_pipelined(rng: random.Random, world: World) -> Iterator[Message]:
    name = some_id(rng)
    yield frame(rng).message(name, start=True, token=token(rng))
    for _ in range(rng.randint(1, 3)):
        yield _EMPTY.message(name, end=True, token=token(rng))
        yield frame(rng).message(name, start=True, token=token(rng))
    yield frame(rng).message(name, token=token(rng), end=True)


@kind("script", 2)
def frames_after_end(rng: random.Random, world: World) -> Iterator[Message]:
    name = some_id(rng)
    yield frame(rng).message(name, start=True, end=True, token=token(rng))
    for _ in range(3):
        yield frame(rng).message(name, token=token(rng))


@kind("script", 2)
def odd_ids(rng: random.Random, world: World) -> Iterator[Message]:
    name = rng.choice(_ODD_IDS)
    yield frame(rng).message(name, start=True, token=token(rng))
    yield _EMPTY.message(name, end=True, token=token(rng))


@kind("script", 2)
def ids_of_others(rng: random.Random, world: World) -> Iterator[Message]:
    """Frames, beginnings and removals under the ids of honest videos, without their owner's token. No END: see World.dangerous."""
    for _ in range(rng.randint(1, 3)):
        owner = rng.choice([{}, {"owner": "somebody else"}, {"owner": ""}])
        remove = Content({"PROMPTS": [{"object": 1, "remove": True}]}, owner)
        content = rng.choice([frame(rng, **owner), frame(rng, snapshot=True, **owner), remove])
        ends = world.dangerous and rng.random() < 0.5
        yield content.message(world.somebody(rng), start=rng.random() < 0.5, end=ends, token=token(rng))


@kind("script", 1)
def states_under_ids_of_others(rng: random.Random, world: World) -> Iterator[Message]:
    yield state(rng.choice([world.snapshot, b"damaged"])).message(world.somebody(rng), start=True, token=token(rng))


@kind("script", 1)
def damaged_state_on_a_live_id(rng: random.Random, world: World) -> Iterator[Message]:
    """Its own video, which has to live on."""
    name = some_id(rng)
    yield frame(rng).message(name, start=True, token=token(rng))
    yield changed_header(rng, world).message(name, start=True, token=token(rng))
    yield frame(rng).message(name, token=token(rng), end=True)


@kind("script", 2)
def request_ids(rng: random.Random, world: World) -> Iterator[Message]:
    """None, the same for several requests, somebody else's, long ones."""
    shared = rng.choice(["", "same", "x" * 100_000, "\x00", "é", world.somebodys_token(rng)])
    for _ in range(3):
        yield frame(rng).message(some_id(rng), start=True, end=True, token=shared)


@kind("script", 2)
def without_sequence(rng: random.Random, world: World) -> Iterator[Message]:
    """No id or no flags, or of other types."""
    message = frame(rng).message(some_id(rng), start=True, token=token(rng))
    name = rng.choice(["sequence_id", "sequence_start", "sequence_end"])
    del message.parameters[name]
    if rng.random() < 0.5:
        setattr(message.parameters[name], *rng.choice([("double_param", 1.5), ("bool_param", True), ("string_param", "true"), ("int64_param", 1)]))
    yield message


@kind("script", 2)
def other_models_and_versions(rng: random.Random, world: World) -> Iterator[Message]:
    message = frame(rng).message(
        some_id(rng), start=True, end=True, token=token(rng), model=rng.choice(["tracker", "nobody", "", "tracker/1", "x" * 10_000])
    )
    message.model_version = rng.choice(["", "1", "2", "-1", "x"])
    yield message


@kind("script", 2)
def odd_outputs(rng: random.Random, world: World) -> Iterator[Message]:
    """Only some outputs are asked for, unknown ones, or as classes. Classes of a BYTES output would end Triton 2.51 (SIGFPE)."""
    message = frame(rng).message(some_id(rng), start=True, end=True, token=token(rng))
    for name in rng.sample(["MASKS", "MASK_BYTES", "FRAME_INDEX", "LOGITS", "SNAPSHOT", "TOKEN", "LOW", "nothing"], rng.randint(1, 3)):
        output = message.outputs.add(name=name)
        if rng.random() < 0.3:
            output.parameters["classification"].int64_param = rng.choice([1, 2**40])
    yield message


@kind("script", 1)
def contents_instead_of_bytes(rng: random.Random, world: World) -> Iterator[Message]:
    """Tensors in the typed fields of the protocol, fewer or more raw ones than tensors."""
    message = Content({"FRAME": picture(8, 8)}).message(some_id(rng), start=True, end=True, token=token(rng))
    match rng.randrange(3):
        case 0:
            del message.raw_input_contents[:]
            message.inputs[0].contents.uint_contents.extend([1] * rng.choice([0, 10, 192]))
        case 1:
            message.raw_input_contents.append(b"more")
        case _:
            message.inputs.add(name="PROMPTS", datatype="BYTES", shape=[1, 1]).contents.bytes_contents.append(b"[]")
    yield message

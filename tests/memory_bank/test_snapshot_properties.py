"""Snapshots that were tampered with, in any way, are refused or harmless: what is taken is sound, and can be tracked on."""

from __future__ import annotations

import json
import random
import struct
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from masklet.errors import BadState, MaskletError, ServerFault
from masklet.families import Variant
from masklet_bank.integrity import check_video, check_videos
from tests.fakes.bank_driver import VARIANT, Client, RecordingStages, click, mask, service
from tests.memory_bank.test_selection import SELECTIVE

VARIANTS = {"newest": VARIANT, "selective": SELECTIVE}
LIMITS = {"max_objects": 4, "max_points": 6, "max_conditioning": 2}
PLAIN = settings(deadline=None, derandomize=True, database=None, max_examples=150)


class Good(RecordingStages):
    """Masks of which most are good enough to be selected."""

    def mask_decoder(self, inputs):
        out = super().mask_decoder(inputs)
        return out | {"IOU": np.where(inputs["FEATURES"][:, 0, 0, 0] % 5 == 0, 0.0, 0.9).astype(np.float32)}


def sound(held) -> None:
    assert check_videos(held.videos) == []
    for video_id in held.videos.live:
        assert check_video(held.videos.find(video_id), held.settings.variant) == []


def attempt(send: Callable[..., dict], *prompts: dict, **options: Any) -> dict[str, np.ndarray] | MaskletError:
    """An answer or the error in its place, which is none of a mistake in the bank."""
    try:
        return send(*prompts, **options)
    except MaskletError as error:
        refusal = error
    assert not ours(refusal), refusal
    return refusal


def ours(error: MaskletError) -> bool:
    """Whether a fault is not that of an engine or of its values, but a mistake in the bank."""
    return isinstance(error, ServerFault) and not ("told to" in str(error) or "not finite" in str(error))


def video(variant: Variant, kind: str) -> Client:
    """A video in one of its states."""
    client = Client(service(Good(), variant=variant, **LIMITS))
    if kind == "ahead":
        for frame in (12, 3, 7, 20):
            client.send(click(1, (frame, 5)), number=frame, frame_index=frame, track=False)
        client.send(click(2, (1, 1), (2, 2)), number=3, frame_index=3, track=False)
        return client
    way = {"frame_index": 60, "reverse": True} if kind == "reverse" else {}
    client.send(click(1, (10, 20)), mask(2), click(9, (4, 4), (6, 6), labels=[2, 3]), **way)
    for frame in range(1, 20):
        client.send(*[click(1, (frame, 3))] * (frame % 5 == 0), number=frame, **({"reverse": True} if way else {}))
    if kind == "refined":
        client.send(click(1, (8, 8)), click(2, (5, 5)), number=19, refine=True)
    return client


@cache
def state(family: str, kind: str) -> bytes:
    return video(VARIANTS[family], kind).send(control=True, snapshot=True)["SNAPSHOT"].tobytes()


REAL = st.tuples(st.sampled_from(sorted(VARIANTS)), st.sampled_from(["refined", "reverse", "ahead"]))


def go_on(family: str, data: bytes) -> bool:
    """Restores a snapshot and goes on with it in every way. Returns whether it was taken."""
    held = service(Good(), variant=VARIANTS[family], **LIMITS)
    client = Client(held)
    refusal = attempt(client.send, control=True, restore=np.frombuffer(data, np.uint8))
    sound(held)
    if isinstance(refusal, MaskletError):
        assert isinstance(refusal, BadState)
        assert len(str(refusal)) < 500
        assert len(held.videos) == 0
        return False
    on = {"number": 5, "reverse": held.videos.find(1).direction < 0}
    clicked = [click(object_id, (3, 3)) for object_id in held.videos.find(1).objects]
    for prompts, options in (([], {}), ([], {}), (clicked, {"refine": True}), (clicked, {}), ([], {}), ([], {"snapshot": True})):
        attempt(client.send, *prompts, **on, **options)
        sound(held)
    return True


@pytest.mark.parametrize("kind", ["refined", "reverse", "ahead"])
@pytest.mark.parametrize("family", VARIANTS)
def test_a_snapshot_that_nobody_touched_is_taken(family, kind):
    assert go_on(family, state(family, kind))


def header_of(data: bytes) -> tuple[Any, bytes]:
    (length,) = struct.unpack("<Q", data[8:16])
    return json.loads(data[16 : 16 + length]), data[16 + length :]


def with_header(header: Any, body: bytes) -> bytes:
    text = json.dumps(header, separators=(",", ":")).encode()
    return b"MASKLET\x01" + struct.pack("<Q", len(text)) + text + body


def places(value: Any) -> Iterator[tuple[Any, Any]]:
    """(container, key) of everything in a JSON value."""
    for key in value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ():
        yield value, key
        yield from places(value[key])


STRANGE = (
    None,
    True,
    False,
    -1,
    0,
    1,
    3,
    19,
    20,
    21,
    64,
    2**31,
    2**63 - 1,
    2**63,
    10**400,
    0.5,
    -0.0,
    1e308,
    "",
    "0",
    "<f4",
    [],
    {},
    [[]],
    [0, 0],
    float("nan"),
)


def edit(rng: random.Random, header: Any) -> None:
    """Changes one thing in a header."""
    found = list(places(header))
    container, key = rng.choice(found)
    other, other_key = rng.choice(found)
    what = rng.choice(["strange", "strange", "another", "another", "gone", "twice", "shuffled", "swapped"])
    if what == "strange":
        container[key] = rng.choice(STRANGE)
    elif what == "another":
        container[key] = json.loads(json.dumps(other[other_key]))
    elif what == "gone":
        del container[key]
    elif what == "swapped":
        container[key], other[other_key] = json.loads(json.dumps([other[other_key], container[key]]))
    elif isinstance(container, list):
        container.append(container[key]) if what == "twice" else rng.shuffle(container)


@PLAIN
@given(REAL, st.integers(0, 2**32), st.integers(1, 3))
def test_a_snapshot_with_another_header_is_refused_or_harmless(real, seed, edits):
    rng = random.Random(seed)
    header, body = header_of(state(*real))
    for _ in range(edits):
        edit(rng, header)
    go_on(real[0], with_header(header, body))


@PLAIN
@given(REAL, st.lists(st.tuples(st.floats(0, 1), st.integers(1, 255)), min_size=1, max_size=8), st.booleans())
def test_flipped_bytes_are_refused_or_harmless(real, flips, anywhere):
    data = bytearray(state(*real))
    reach = len(data) if anywhere else 16 + struct.unpack("<Q", data[8:16])[0]
    for place, bits in flips:
        data[int(place * (reach - 1))] ^= bits
    go_on(real[0], bytes(data))


@PLAIN
@given(REAL, st.sampled_from(["cut", "longer", "gap", "doubled", "turned"]), st.floats(0, 1), st.floats(0, 1))
def test_parts_that_are_missing_doubled_or_in_another_order_are_refused_or_harmless(real, what, one, two):
    data = state(*real)
    start, end = sorted((int(one * len(data)), int(two * len(data))))
    made = {
        "cut": data[:end],
        "longer": data + data[start:end],
        "gap": data[:start] + data[end:],
        "doubled": data[:end] + data[start:end] + data[end:],
        "turned": data[:start] + data[end:] + data[start:end],
    }[what]
    go_on(real[0], made)


@PLAIN
@given(REAL, st.integers(0, 2**32))
def test_arrays_in_another_order_are_refused_or_harmless(real, seed):
    header, body = header_of(state(*real))
    random.Random(seed).shuffle(header["arrays"])
    go_on(real[0], with_header(header, body))


@pytest.mark.parametrize("family", VARIANTS)
def test_one_array_in_many_places_is_refused(family):
    """It would count once, and be what many frames remember."""
    header, body = header_of(state(family, "refined"))
    memories = header["objects"][0]["memories"]
    before, after = memories[0][1], memories[1][1]
    memories[0][1] = after
    assert not go_on(family, with_header(header, body))
    memories[0][1] = before
    assert go_on(family, with_header(header, body))


@pytest.mark.parametrize(("dtype", "value"), [("<u2", 0x7F80), ("<u2", 0xFFC1), ("<f4", 0x7F800000), ("<f4", 0xFFC00001)])
def test_values_that_are_not_finite_are_refused_as_those_of_the_engines_are(dtype, value):
    header, body = header_of(state("newest", "refined"))
    start = 0
    for kind, shape in header["arrays"]:
        size = int(dtype[2])
        if kind == dtype and np.prod(shape):
            spoilt = body[:start] + value.to_bytes(size, "little") + body[start + size :]
            assert not go_on("newest", with_header(header, spoilt))
        start += int(kind[2]) * int(np.prod(shape))


def test_an_array_that_nobody_refers_to_is_refused():
    header, body = header_of(state("newest", "refined"))
    header["arrays"].append(["<f4", [1000]])
    assert not go_on("newest", with_header(header, body + bytes(4000)))

"""The limit on STATE follows from the limits of the bank: the largest real snapshot is taken, and little more is."""

import json
import struct

import numpy as np
import pytest

from masklet import families
from masklet.errors import BadState
from masklet.families import header_bytes, state_bytes
from tests.fakes.bank_driver import VARIANT, Client, RecordingStages, click, service
from tests.memory_bank.test_selection import SELECTIVE

OBJECTS, CAP, POINTS = 2, 3, 4
LAST = 2**63 - 1  # a frame index as long as they get
ID = 2**63 - 1 - OBJECTS


class Full(RecordingStages):
    """Every mask is good, and scores need all their digits in JSON."""

    def mask_decoder(self, inputs):
        out = super().mask_decoder(inputs)
        return out | {"IOU": np.full_like(out["IOU"], -1.2345678e-38), "SCORE": np.full_like(out["SCORE"], -1.2345678e-38)}


def driven(variant, stages) -> Client:
    """A video that holds all that it may: the last frames that there are, each tracked and then corrected, and one more refined."""
    held = service(stages, variant=variant, max_objects=OBJECTS, max_conditioning=CAP, max_points=POINTS)
    client = Client(held)
    ids, points = range(ID, ID + OBJECTS), [(1, 2)] * POINTS
    selective = variant.family.corrections_condition
    frames = range(LAST - 40, LAST + 1)
    for frame in frames:
        conditions = frame == frames[0] or (not selective and frame in frames[1:CAP])
        client.send(*[click(number, *points) for number in ids] if conditions else [], number=1, frame_index=frame)
        if selective and frame - frames[0] in (1, 2, 3):
            client.send(*[click(number, *points) for number in ids], number=1, refine=True)
    if not selective:
        client.send(*[click(number, *points) for number in ids], number=1, refine=True)
    return client


def parts(state: np.ndarray) -> tuple[int, int]:
    """Bytes of the header and of the arrays."""
    (header,) = struct.unpack("<Q", state[8:16].tobytes())
    return header, len(state) - 16 - header


@pytest.mark.parametrize("variant", [VARIANT, SELECTIVE], ids=["newest", "selective"])
def test_the_largest_snapshot_is_as_large_as_the_formula_says(variant):
    client = driven(variant, Full() if variant is VARIANT else RecordingGood())
    state = client.send(control=True, snapshot=True)["SNAPSHOT"]
    most_header = header_bytes(variant, OBJECTS, OBJECTS * CAP)
    header, arrays = parts(state)
    assert arrays == state_bytes(variant, OBJECTS, CAP, POINTS) - 16 - most_header
    assert header <= most_header < 3 * header
    restored = Client(service(RecordingStages(), variant=variant, max_objects=OBJECTS, max_conditioning=CAP, max_points=POINTS))
    restored.send(control=True, restore=state)
    assert np.array_equal(restored.send(control=True, snapshot=True)["SNAPSHOT"], state)


class RecordingGood(RecordingStages):
    """Every mask is good enough to be selected."""

    def mask_decoder(self, inputs):
        out = super().mask_decoder(inputs)
        return out | {"IOU": np.full_like(out["IOU"], 0.12345678), "SCORE": np.full_like(out["SCORE"], 12.345678)}


def test_what_the_default_limits_allow_is_allowed_for_every_variant():
    """48 objects with 8 prompts each: 469 MiB of memories in sam2.1."""
    for variant in families.VARIANTS.values():
        limit = state_bytes(variant, 48, 8, 64)
        assert 48 * variant.object_bytes(8) < limit < 2.6 * 48 * variant.object_bytes(8)
    assert state_bytes(families.variant("sam2.1_t"), 48, 8, 64) > 469 << 20
    assert state_bytes(families.variant("nano"), 48, 8, 64) < 60 << 20
    assert state_bytes(families.variant("sam2.1_t"), 48, 0, 64) == 2**31 - 1


def forged(state: np.ndarray, text: bytes) -> np.ndarray:
    """The snapshot with another header, whatever it is."""
    header, _ = parts(state)
    return np.concatenate([state[:8], np.frombuffer(struct.pack("<Q", len(text)) + text, np.uint8), state[16 + header :]])


@pytest.fixture
def state() -> np.ndarray:
    client = Client(service(RecordingStages()))
    client.send(click(1, (5, 5)))
    return client.send(control=True, snapshot=True)["SNAPSHOT"]


def refusal(state: np.ndarray, **limits) -> str:
    held = service(RecordingStages(), **limits)
    with pytest.raises(BadState) as caught:
        Client(held).send(control=True, restore=state)
    assert len(held.videos) == 0
    return str(caught.value)


def test_a_long_header_is_not_even_parsed(state, monkeypatch):
    """27 bytes of memory for each byte of `[],[],...`."""
    text = b'{"objects":[' + b"[]," * 300_000 + b"[]]}"
    monkeypatch.setattr(json, "loads", lambda *_, **__: pytest.fail("parsed"))
    assert f"header of the state has {len(text)} bytes; one of this server has" in refusal(forged(state, text), max_conditioning=8)


def test_without_a_cap_a_header_is_as_long_as_its_arrays_have_answers_at_most(state):
    assert "bytes; one of this server has" in refusal(forged(state, b"[" * 2_000_000))


HEADERS = {
    "deep": b"[" * 100_000,
    "deep in objects": b'{"identity":{},"objects":' + b'{"a":' * 50_000 + b"1" + b"}" * 50_000 + b"}",
    "not unicode": b'{"identity":"\xff\xfe"}',
    "long number": b'{"identity":' + b"9" * 5000 + b"}",
    "NaN": b'{"identity":NaN}',
    "list": b"[1]",
    "empty": b"",
    "text": b'"text"',
    "identity is a list": b'{"identity":[],"objects":[]}',
    "nul": b"\x00" * 100,
}


@pytest.mark.parametrize("name", HEADERS)
def test_a_header_that_is_none_is_refused_and_the_refusal_is_short(state, name):
    assert len(refusal(forged(state, HEADERS[name]), max_conditioning=8)) < 400


def test_a_foreign_identity_is_not_repeated_at_length(state):
    text = json.dumps({"identity": {"contract_version": "x" * 100_000}}).encode()
    assert len(refusal(forged(state, text), max_conditioning=8)) < 400


def test_a_snapshot_of_another_contract_says_what_to_do(state):
    text = json.dumps({"identity": {"contract_version": "2"}}).encode()
    said = refusal(forged(state, text))
    assert "taken by a server of contract '2', this one has contract" in said
    assert "Finish the video on a server of its own contract, or open a new one here and prompt again." in said


def test_prompted_frames_beyond_the_limit_are_refused_with_both_numbers():
    client = Client(service(RecordingStages(), max_conditioning=8))
    for frame in range(5):
        client.send(click(1, (5, 5)), number=frame, frame_index=frame, track=False)
    state = client.send(control=True, snapshot=True)["SNAPSHOT"]
    assert "prompted on 5 frames; this server keeps 4 per video" in refusal(state, max_objects=2, max_conditioning=2)


def test_what_a_server_with_another_cap_keeps_becomes_ordinary_where_tracking_passed_it():
    client = Client(service(RecordingStages(), max_conditioning=8))
    for _ in range(5):
        client.send(click(1, (5, 5)))
    held = service(RecordingStages(), max_conditioning=2)
    restored = Client(held)
    restored.send(control=True, restore=client.send(control=True, snapshot=True)["SNAPSHOT"])
    assert list(held.videos.find(1).objects[1].conditioning) == [3, 4]
    assert sorted(held.videos.find(1).objects[1].memories) == [0, 1, 2]


def test_the_bytes_of_a_snapshot_are_not_kept_with_the_video(state):
    """A view would hold hundreds of MiB until the last of its arrays is forgotten."""
    held = service(RecordingStages())
    given = state.copy()
    Client(held).send(control=True, restore=given)
    given[-100:] = 0xFF
    assert np.array_equal(Client(held, began=True).send(control=True, snapshot=True)["SNAPSHOT"], state)

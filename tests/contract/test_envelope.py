"""The envelope: every field comes out as it went in, to the last bit, and nobody but a stage of the same server can make one."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import fields, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from masklet.envelope import MAX_BYTES, Envelope, Prompt, Sender, sign, verify
from masklet.errors import BadRequest
from masklet.wire import MASK_FORMS, Options

KEY, OTHER = b"k" * 32, b"j" * 32
SENDER = Sender("preprocess_0_0", 12, False, 3.25)

_texts = st.text(st.characters(codec="utf-8"), max_size=200)
_floats = st.floats(allow_nan=False, allow_infinity=False).map(lambda x: x + 0.0)  # 0 has one sign
_float32 = st.floats(width=32, allow_nan=False, allow_infinity=False)
_prompts = st.builds(
    Prompt,
    st.integers(0, 2**63 - 1),
    st.lists(st.tuples(_float32, _float32), max_size=4).map(tuple),
    st.lists(st.integers(0, 3), max_size=4).map(tuple),
    *[st.booleans()] * 4,
)
_options = st.builds(
    Options,
    *(st.sampled_from(MASK_FORMS), *[st.booleans()] * 4, st.none() | st.integers(0, 2**63 - 1), st.booleans(), st.none()),
)
ENVELOPES = st.builds(
    Envelope,
    token=_texts,
    video=st.integers(0, 2**64 - 1) | _texts,
    error=_texts,
    restores=st.booleans(),
    size=st.none() | st.tuples(st.integers(1, 2**31 - 1), st.integers(1, 2**31 - 1)),
    options=_options,
    prompts=st.lists(_prompts, max_size=4).map(tuple),
    limits=st.dictionaries(_texts, st.integers(1, 2**40), max_size=3),
    received=_floats,
    preprocessed=_floats,
    objects=st.integers(0, 2**31 - 1),
    times=st.lists(_floats, max_size=6).map(tuple),
)
SENDERS = st.builds(Sender, _texts, st.integers(1, 2**22), st.booleans(), _floats)

FULL = Envelope(
    token="0123abcd",
    video="Björk",
    error='MASKLET_BAD_FRAME: no "image".\n',
    restores=True,
    size=(48, 64),
    options=Options("png", True, True, True, False, 7, True),
    limits={"max_points": 64},
    prompts=(Prompt(2**63 - 1, ((0.1, -0.0), (1e-45, 3.4028234663852886e38)), (2, 3), append=True), Prompt(0, mask=True, clear=True)),
    received=1.5,
    preprocessed=2.5,
    objects=3,
    times=(0.1, 0.2, 0.3, 0.4, 0.5, 0.6),
)


def kinds(value: object) -> object:
    """A value with the type of everything in it: 1, 1.0 and True are equal, but not the same."""
    if isinstance(value, tuple):
        return tuple(kinds(item) for item in value)
    if isinstance(value, dict):
        return {name: kinds(item) for name, item in value.items()}
    inside = vars(value).values() if isinstance(value, Envelope | Options | Prompt | Sender) else ()
    return type(value), repr(value), tuple(kinds(item) for item in inside)


@settings(max_examples=100, deadline=None)
@given(ENVELOPES, SENDERS)
def test_every_field_comes_out_as_it_went_in(envelope: Envelope, sender: Sender) -> None:
    got, by = verify(sign(envelope, sender, KEY), KEY)
    assert kinds(got) == kinds(envelope)
    assert kinds(by) == kinds(sender)


@settings(max_examples=100, deadline=None)
@given(_float32)
def test_coordinates_keep_every_bit_of_their_float32(x: float) -> None:
    (prompt,) = verify(sign(Envelope(prompts=(Prompt(1, ((x, -x),), (1,)),)), SENDER, KEY), KEY)[0].prompts
    assert np.array(prompt.points, np.float32).tobytes() == np.array([[x, -x]], np.float32).tobytes()


@pytest.mark.parametrize("name", [field.name for field in fields(Envelope)])
def test_a_field_that_differs_from_its_default_is_written_and_the_others_are_left_out(name: str) -> None:
    envelope = Envelope(**{name: getattr(FULL, name)})
    assert envelope != Envelope()
    data = sign(envelope, SENDER, KEY)
    assert list(json.loads(data.partition(b" ")[2])[0]) == [name]
    assert verify(data, KEY)[0] == envelope


def test_an_option_that_is_false_where_the_default_is_true_is_kept() -> None:
    assert verify(sign(Envelope(options=Options(track=False)), SENDER, KEY), KEY)[0].options == Options(track=False)


def test_the_envelope_of_a_plain_frame_is_short() -> None:
    """It is copied from process to process four times a frame."""
    plain = Envelope("0" * 32, 2**62, size=(1080, 1920), received=123456.789012345, preprocessed=123456.789012345)
    assert len(sign(plain, SENDER, KEY)) < 350


def test_the_longest_envelope_that_a_stage_signs_is_read_by_the_next() -> None:
    """By the limits of the committed configs, with numbers as long as float32 values get, and an error of characters that JSON writes in twelve."""
    x = float(np.float32(-1.2345678e-30))
    prompt = Prompt(2**63 - 1, ((x, x),) * 64, (1,) * 64, append=True, clear=True)
    longest = replace(FULL, token="0" * 128, video="\U0001f600" * 32, error="\U0001f600" * 4000, prompts=(prompt,) * 32)
    assert 150_000 < len(sign(longest, SENDER, KEY)) < MAX_BYTES // 10


def test_a_change_of_any_byte_is_refused() -> None:
    data = sign(FULL, SENDER, KEY)
    for index in range(len(data)):
        for change in (0x01, 0x20, 0x80):  # 0x20 turns small letters into capitals
            changed = bytearray(data)
            changed[index] ^= change
            with pytest.raises(BadRequest, match="other models of its server only"):
                verify(bytes(changed), KEY)


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=400), st.integers(0, 1000), st.integers(0, 1000))
def test_bytes_that_nobody_signed_are_refused(noise: bytes, begin: int, end: int) -> None:
    data = sign(FULL, SENDER, KEY)
    for changed in (noise, data[:begin] + noise, noise + data[end:], data + noise, data[:begin]):
        if changed != data:
            with pytest.raises(BadRequest):
                verify(changed, KEY)


def test_another_servers_envelope_is_refused() -> None:
    with pytest.raises(BadRequest):
        verify(sign(FULL, SENDER, OTHER), KEY)


def test_the_signature_covers_who_signed() -> None:
    """Otherwise anybody could make `stopped` true, or name another process."""
    signature = sign(FULL, SENDER, KEY).partition(b" ")[0]
    for sender in (replace(SENDER, stopped=True), replace(SENDER, pid=1), replace(SENDER, sent=0.0), replace(SENDER, stage="x")):
        with pytest.raises(BadRequest):
            verify(signature + b" " + sign(FULL, sender, KEY).partition(b" ")[2], KEY)


_KEY = [sys.executable, "-c", "from masklet.envelope import server_key; print(server_key().hex())"]


def _key(*before: str) -> str:
    made = subprocess.run([*before, *_KEY], check=True, capture_output=True, text=True).stdout.strip()
    assert len(made) == 64
    return made


def test_the_models_of_a_server_have_one_key_and_no_other_server_has_it() -> None:
    """Triton starts them all; here this process does. A shell between makes another parent."""
    between = ("sh", "-c", '"$@"; true', "sh")
    keys = [_key(), _key(), _key(*between), _key(*between)]
    assert keys[0] == keys[1]
    assert len(set(keys)) == 3

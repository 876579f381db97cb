"""The Triton side of preprocess: it answers every request with every output, and its config says what the contract says."""

from __future__ import annotations

import io
import json

import numpy as np
import pytest
from PIL import Image

from masklet.contract import preprocess
from masklet.envelope import Envelope, Prompt
from masklet.families import variant
from masklet.wire import Options
from tests.fakes import loading

from .conftest import FOLDER, VARIANT, S

PREPROCESS = preprocess(variant(VARIANT))
CLICK = {"object": 1, "points": [[10, 20]], "labels": [1]}


def assert_complete(answer):
    """Every output of the contract, no other, with its dtype and rank, and with the sizes that the variant fixes."""
    sizes = {"S": S, "M": S}
    assert set(answer) - {"envelope"} == {tensor.name for tensor in PREPROCESS.outputs}
    for tensor in PREPROCESS.outputs:
        array = answer[tensor.name]
        assert array.dtype == tensor.numpy_dtype, tensor.name
        assert array.ndim == len(tensor.dims), tensor.name
        for side, dim in zip(array.shape, tensor.dims, strict=True):
            assert sizes.get(dim, dim) == side or dim in ("n", "m", "k"), tensor.name


def assert_carries_nothing(answer):
    """A refused request: an envelope that says why, and no content of the request."""
    envelope = answer["envelope"]
    assert envelope == Envelope(error=envelope.error, restores=envelope.restores, received=envelope.received, preprocessed=envelope.preprocessed)
    assert not answer["IMAGE"].any()
    assert not any(answer[name].size for name in set(answer) - {"IMAGE", "ENVELOPE", "envelope"})


def status(answer):
    return answer["envelope"].error


def test_a_raw_frame_with_a_prompt(shell, picture):
    frame = picture(120, 160)
    answer = shell(FRAME=frame, PROMPTS=[CLICK])
    assert_complete(answer)
    assert status(answer) == ""
    np.testing.assert_array_equal(answer["IMAGE"], np.array(Image.fromarray(frame).resize((S, S))))
    x, y = np.float32([10, 20]) / np.float32([160, 120]) * np.float32(S)
    assert answer["envelope"].size == (120, 160)
    assert answer["envelope"].prompts == (Prompt(1, ((float(x), float(y)),), (1,)),)


def test_an_encoded_frame_gives_what_the_raw_frame_gives(shell, picture):
    frame = picture(120, 160)
    file = io.BytesIO()
    Image.fromarray(frame).save(file, "PNG")
    raw, encoded = shell(FRAME=frame), shell(FRAME_ENCODED=file.getvalue())
    np.testing.assert_array_equal(raw["IMAGE"], encoded["IMAGE"])
    assert encoded["envelope"].size == (120, 160)


def test_a_control_request_has_no_size_and_a_black_image(shell):
    answer = shell(PROMPTS=[{"object": 4, "remove": True}])
    assert_complete(answer)
    assert status(answer) == ""
    assert not answer["IMAGE"].any()
    assert answer["envelope"].size is None
    assert answer["envelope"].prompts == (Prompt(4, remove=True),)


def test_a_snapshot_is_passed_on(shell):
    state = np.arange(200, dtype=np.uint8)
    answer = shell(PROMPTS=[], STATE=state)
    np.testing.assert_array_equal(answer["RESTORE"], state)
    assert answer["envelope"].restores
    assert not shell(PROMPTS=[])["envelope"].restores


@pytest.mark.parametrize("size", [0, 1001])
def test_a_snapshot_that_is_empty_or_over_the_limit_is_refused(shell, size):
    answer = shell(PROMPTS=[], STATE=np.zeros(size, np.uint8))
    assert status(answer).startswith("MASKLET_BAD_STATE: ")
    assert_carries_nothing(answer)
    assert answer["envelope"].restores, "memory_bank must know that there was one"


def test_a_request_that_is_wrong_beside_its_snapshot_still_says_that_it_has_one(shell):
    answer = shell(FRAME=np.zeros((4, 4, 3), np.uint8), PROMPTS=b"{", STATE=np.ones(9, np.uint8))
    assert status(answer).startswith("MASKLET_BAD_PROMPT: ")
    assert_carries_nothing(answer)
    assert answer["envelope"].restores


REFUSED = {
    "BAD_REQUEST": {"FRAME": np.zeros((4, 4, 3), np.uint8), "FRAME_ENCODED": b"x"},
    "BAD_FRAME": {"FRAME_ENCODED": b"no image"},
    "FRAME_TOO_LARGE": {"FRAME": np.zeros((500, 4, 3), np.uint8)},
    "BAD_PROMPT": {"FRAME": np.zeros((4, 4, 3), np.uint8), "PROMPTS": [CLICK]},
    "TOO_MANY_POINTS": {"FRAME": np.zeros((9, 9, 3), np.uint8), "PROMPTS": [{"object": 1, "points": [[1, 1]] * 7, "labels": [1] * 7}]},
    "BAD_PARAMETER": {"FRAME": np.ones((4, 4, 3), np.uint8), "parameters": {"masks": "jpeg"}},
}


@pytest.mark.parametrize("code", REFUSED)
def test_a_wrong_request_becomes_a_status_and_carries_nothing_else(shell, code):
    answer = shell(**REFUSED[code])
    assert_complete(answer)
    assert status(answer).startswith(f"MASKLET_{code}: ")
    assert_carries_nothing(answer)
    assert not answer["envelope"].restores


@pytest.mark.parametrize("value", ["", "no", "Exclusive", True, 1])
def test_an_overlap_that_there_is_not_is_refused(shell, value):
    said = status(shell(FRAME=np.ones((4, 4, 3), np.uint8), parameters={"overlap": value}))
    assert said.startswith(f"MASKLET_BAD_PARAMETER: parameter overlap is {value!r}. Use one of allowed, exclusive.")


def test_a_bug_becomes_a_status_and_a_line_in_the_log(shell, monkeypatch):
    def fail(*_):
        raise RuntimeError("wires crossed")

    monkeypatch.setattr(shell.module, "prepare", fail)
    answer = shell(FRAME=np.zeros((4, 4, 3), np.uint8))
    assert_complete(answer)
    assert status(answer).startswith("MASKLET_SERVER_FAULT: preprocess failed with RuntimeError: wires crossed")
    assert [level for level, _ in shell.utils.Logger.lines] == ["ERROR"]


def test_requests_of_a_batch_do_not_touch_each_other(shell, picture):
    frames = [picture(20, 30), picture(40, 30)]
    answers = shell.execute(shell.request(FRAME=frames[0]), shell.request(FRAME_ENCODED=b"no image"), shell.request(FRAME=frames[1]))
    assert [bool(status(answer)) for answer in answers] == [False, True, False]
    for answer, frame in zip((answers[0], answers[2]), frames, strict=True):
        np.testing.assert_array_equal(answer["IMAGE"], shell(FRAME=frame)["IMAGE"])


def test_the_clock_runs_from_begin_to_end(shell, picture):
    first, second = shell(FRAME=picture(20, 20)), shell(FRAME=picture(20, 20))
    times = [time for answer in (first, second) for time in (answer["envelope"].received, answer["envelope"].preprocessed)]
    assert times == sorted(times)
    assert times[0] < times[1]


@pytest.mark.parametrize("video", [7, 2**63 - 1, "a name", "Bj\u00f6rk"])
def test_the_envelope_says_whose_the_request_is(shell, picture, video):
    """Also where the request is wrong: its error must reach its own client."""
    frame = picture(20, 20)
    requests = [
        shell.request(token="first", video=video, FRAME=frame),
        shell.request(token="second", video=8, FRAME=frame, PROMPTS=b"no"),
        shell.request(video=video, FRAME=frame),
    ]
    envelopes = [answer["envelope"] for answer in shell.execute(*requests)]
    assert [(envelope.token, envelope.video) for envelope in envelopes] == [("first", video), ("second", 8), ("", video)]
    assert [bool(envelope.error) for envelope in envelopes] == [False, True, False]


def test_the_envelope_says_what_was_asked_but_not_who_owns_the_video(shell, picture):
    given = {"masks": "png", "logits": True, "track": False, "frame_index": 3, "reverse": True, "snapshot": True, "refine": True}
    given["overlap"] = "exclusive"
    options = shell(FRAME=picture(20, 20), parameters={**given, "owner": "me"})["envelope"].options
    assert options == Options(**given)


def test_an_error_that_quotes_the_client_stays_short(shell, picture):
    """The stages behind read no envelope of any length, and END must reach the bank."""
    for given in ({"\U0001f600" * 10**6: 1}, {"masks": "\U0001f600" * 10**6}):
        answer = shell(FRAME=picture(20, 20), parameters=given)
        assert status(answer).startswith("MASKLET_BAD_PARAMETER: ")
        assert answer["ENVELOPE"].nbytes < 100_000


def test_an_id_over_the_limit_is_answered_with_an_error_to_that_very_id(shell, picture):
    for length, refused in ((128, False), (129, True), (100_000, True)):
        (answer,) = shell.execute(shell.request(token="x" * length, FRAME=picture(20, 20)))
        assert answer["envelope"].token == "x" * length
        assert status(answer).startswith(f"MASKLET_BAD_REQUEST: the request's id has {length} characters") == refused
        assert bool(status(answer)) == refused


@pytest.mark.parametrize(
    ("name", "value"), [("max_points", ""), ("max_points", "0"), ("max_frame_side", "-3"), ("variant", "no_such"), ("image_size", "")]
)
def test_a_wrong_config_parameter_is_named(shell, name, value):
    config = loading.config("preprocess")
    config.parameters["variant"].string_value, config.parameters["image_size"].string_value = VARIANT, "512"
    config.parameters[name].string_value = value
    with pytest.raises(ValueError, match="no_such" if name == "variant" else name):
        shell.module.TritonPythonModel().initialize(loading.arguments(config, FOLDER.parent))


@pytest.mark.parametrize("seed", range(40))
def test_nothing_that_a_client_sends_fails_a_request_or_loses_an_output(shell, seed):
    rng = np.random.default_rng(seed)
    for _ in range(5):
        answer = shell(**_anything(rng))
        assert_complete(answer)
        assert not status(answer).startswith("MASKLET_SERVER_FAULT"), status(answer)
        json.dumps(status(answer))


def _anything(rng):
    """Inputs of the right tensor types, as Triton guarantees, and any content."""
    request = {}
    if rng.random() < 0.6:
        request["FRAME"] = rng.integers(0, 256, (*rng.integers(0, 40, 2), 3), dtype=np.uint8)
    elif rng.random() < 0.7:
        request["FRAME_ENCODED"] = _damaged(rng, _file(rng))
    if rng.random() < 0.8:
        request["PROMPTS"] = _damaged(rng, json.dumps([_item(rng) for _ in range(rng.integers(0, 3))]).encode())
    if rng.random() < 0.2:
        request["STATE"] = rng.integers(0, 256, rng.integers(0, 2000), dtype=np.uint8)
    if rng.random() < 0.2:
        request["parameters"] = {str(rng.choice(["masks", "owner", "refine", "x"])): rng.choice(["rle", "", "none"]).item()}
    return request


def _file(rng):
    file = io.BytesIO()
    image = Image.fromarray(rng.integers(0, 256, (*rng.integers(1, 40, 2), 3), dtype=np.uint8))
    image.save(file, str(rng.choice(["JPEG", "PNG", "WEBP", "GIF"])))
    return file.getvalue()


def _damaged(rng, data):
    """As it is, with bytes changed, cut off, or random."""
    kind = rng.integers(0, 4)
    damaged = bytearray(data)
    for _ in range(rng.integers(1, 8) if kind == 1 and data else 0):
        damaged[rng.integers(0, len(damaged))] = rng.integers(0, 256)
    if kind == 2:
        return data[: rng.integers(0, len(data) + 1)]
    return rng.bytes(rng.integers(0, 200)) if kind == 3 else bytes(damaged)


def _item(rng):
    """A prompt of known keys whose values are often of the wrong kind."""
    values = [None, True, -1, 3, 1e300, 5.5, "a", [], [[1, 2]], [1], [0, 0, 3, 3], {"size": [4, 4], "counts": [8, 8]}, {"size": [4], "counts": "0@"}]
    keys = ["object", "points", "labels", "box", "mask", "append", "clear", "remove", "other"]
    chosen = {key: values[rng.integers(0, len(values))] for key in keys if rng.random() < 0.3}
    return {"object": 1, "points": [[1, 1]], "labels": [1]} | chosen if rng.random() < 0.5 else chosen


def test_the_config_is_the_contract():
    config = loading.config("preprocess")
    assert config.max_batch_size == 1
    assert config.sequence_batching.HasField("oldest")
    for tensors, entries in ((PREPROCESS.inputs, config.input), (PREPROCESS.outputs, config.output)):
        assert [entry.name for entry in entries] == [tensor.name for tensor in tensors]
        for entry, tensor in zip(entries, tensors, strict=True):
            assert loading.data_type(entry) == tensor.dtype
            assert list(entry.dims) == [dim if isinstance(dim, int) else -1 for dim in tensor.dims]
    for entry, tensor in zip(config.input, PREPROCESS.inputs, strict=True):
        assert entry.optional == tensor.optional
        assert entry.allow_ragged_batch == (-1 in entry.dims)


def test_the_image_size_is_the_variants(shell):
    assert variant(VARIANT).image_size == S
    assert shell(PROMPTS=[])["IMAGE"].shape == (S, S, 3)

"""The Triton side of postprocess: every output always, errors for their own request only, a config that says what the contract says."""

from __future__ import annotations

import json

import numpy as np
import pytest

from masklet import rle
from masklet.contract import POSTPROCESS
from masklet.envelope import Envelope, Sender, sign
from masklet.mask_bytes import separated
from masklet.wire import Options
from tests.fakes import loading
from tests.fakes.sealing import sealed

SIZE = (90, 160)
L = 32


@pytest.fixture
def utils():
    with loading.backend_utils() as utils:
        yield utils


@pytest.fixture
def model(utils):
    module = loading.load(loading.MODELS / "postprocess" / "1" / "model.py")
    return loading.started(module, loading.arguments(loading.config("postprocess"), loading.MODELS / "postprocess"))


@pytest.fixture
def request_of(utils):
    def make(low, size=SIZE, token="abc", video=5, envelope=None, **parameters):
        """A request, with the envelope that memory_bank sends beside these logits, or with `envelope` in its place."""
        sent = Envelope(token, 5, size=size, options=Options(**parameters), objects=len(low), times=(0, 1, 2, 3, 4, 5))
        tensors = {"LOW": low, "ENVELOPE": sealed(sent) if envelope is None else envelope}
        inputs = [utils.Tensor(name, array[None]) for name, array in tensors.items()]
        return utils.InferenceRequest("abc", video, inputs, model_name="postprocess")

    return make


def logits(count=2):
    low = np.full((count, L, L), -3, dtype=np.float32)
    low[:, 8:16, 4:12] = 3
    return low


def outputs(response):
    assert not response.has_error(), response.error().message()
    answer = {tensor.name(): tensor.as_numpy() for tensor in response.output_tensors()}
    assert set(answer) == {tensor.name for tensor in POSTPROCESS.outputs}
    for tensor in POSTPROCESS.outputs:
        assert answer[tensor.name].dtype == tensor.numpy_dtype, tensor.name
        assert answer[tensor.name].ndim == 1 + len(tensor.dims), tensor.name
        assert answer[tensor.name].shape[0] == 1, tensor.name
    return {name: array[0] for name, array in answer.items()}


def test_masks_and_boxes_agree(model, request_of):
    answer = outputs(model.execute([request_of(logits())])[0])
    assert len(answer["BOXES"]) == 2
    for data, box in zip(separated(answer), answer["BOXES"], strict=True):
        rows, columns = np.nonzero(rle.decode(json.loads(data.tobytes()), SIZE))
        assert tuple(box) == (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
    assert answer["LOGITS"].shape == (0, *logits().shape[1:])


def test_boxes_are_computed_without_masks(model, request_of):
    with_masks = outputs(model.execute([request_of(logits())])[0])
    without = outputs(model.execute([request_of(logits(), masks="none")])[0])
    assert (without["MASKS"].size, without["MASK_BYTES"].tolist()) == (0, [0, 0])
    np.testing.assert_array_equal(without["BOXES"], with_masks["BOXES"])


def test_logits_come_when_asked(model, request_of):
    np.testing.assert_array_equal(outputs(model.execute([request_of(logits(), logits=True)])[0])["LOGITS"], logits())


def test_an_absent_object_has_an_empty_mask_and_a_box_of_zeros(model, request_of):
    low = logits()
    low[0] = -1024
    answer = outputs(model.execute([request_of(low)])[0])
    assert not rle.decode(json.loads(separated(answer)[0].tobytes())).any()
    assert list(answer["BOXES"][0]) == [0, 0, 0, 0]
    assert answer["BOXES"][1].any()


@pytest.mark.parametrize("form", ["rle", "bitmap", "png", "none"])
def test_a_control_request_has_no_objects(model, request_of, form):
    answer = outputs(model.execute([request_of(logits(0), size=None, masks=form)])[0])
    assert (answer["MASKS"].shape, answer["MASK_BYTES"].shape) == ((0,), (0,))
    assert answer["BOXES"].shape == (0, 4)


def test_the_time_of_postprocess_follows_the_six_times_before(model, request_of):
    timing = outputs(model.execute([request_of(logits())])[0])["TIMING"]
    np.testing.assert_array_equal(timing[:6], np.arange(6))
    assert timing[6] > 0


def test_a_failure_answers_its_own_request_only(model, request_of, utils):
    good, bad = request_of(logits()), request_of(logits(), size=(0, 0))
    responses = model.execute([good, bad, good])
    assert [response.has_error() for response in responses] == [False, True, False]
    assert responses[1].error().message().startswith("MASKLET_VIDEO_LOST: ")
    outputs(responses[2])


def test_the_answer_says_which_request_it_is_of(model, request_of):
    answer = outputs(model.execute([request_of(logits())])[0])
    assert answer["TOKEN"].tobytes() == b"abc"


def test_logits_that_are_not_those_of_the_envelope_are_refused(model, request_of):
    for count in (0, 1, 3):
        envelope = sealed(Envelope("abc", 5, size=SIZE, objects=2))
        refused, good = model.execute([request_of(logits(count), envelope=envelope), request_of(logits())])
        assert refused.error().message().startswith(f"MASKLET_BAD_REQUEST: {count} objects of logits came with an envelope for 2")
        outputs(good)


def forged(envelope):
    """An envelope that another server, or a client, signed."""
    return sign(envelope, Sender("memory_bank_0_0", 1, True, 0.0), b"a key that somebody made up")


NOT_OURS = {
    "forged": forged(Envelope("abc", 5, size=(2**31 - 1, 2**31 - 1), objects=2)),
    "no signature": b'[{"token":"abc","video":5,"size":[9,9],"objects":2},{}]',
    "empty": b"",
    "no text": b"\xff\xfe \xfd",
}


@pytest.mark.parametrize("name", NOT_OURS)
def test_an_envelope_that_no_stage_signed_is_refused(model, request_of, name):
    refused, good = model.execute([request_of(logits(), envelope=np.frombuffer(NOT_OURS[name], np.uint8)), request_of(logits())])
    assert refused.error().message().startswith("MASKLET_BAD_REQUEST: this model takes requests from other models of its server only")
    outputs(good)


@pytest.mark.parametrize(("token", "video"), [("abd", 5), ("", 5), ("abc", 6), ("abc", "5")])
def test_what_belongs_to_another_request_is_answered_with_an_error(model, request_of, token, video):
    """As when the answer of memory_bank to one request is taken for that to another."""
    refused, good = model.execute([request_of(logits(), token=token, video=video), request_of(logits())])
    assert refused.error().message().startswith("MASKLET_VIDEO_LOST: memory_bank answered another request")
    assert refused.error().message().endswith("[request abc]")
    outputs(good)


def test_a_bug_answers_its_own_request_only(model, request_of, utils):
    broken = utils.InferenceRequest(inputs=[], model_name="postprocess")
    responses = model.execute([broken, request_of(logits())])
    assert responses[0].error().message().startswith("MASKLET_VIDEO_LOST: postprocess failed with KeyError")
    assert [level for level, _ in utils.Logger.lines] == ["ERROR"]
    outputs(responses[1])


def test_the_config_is_the_contract():
    config = loading.config("postprocess")
    assert config.max_batch_size == 8
    assert config.dynamic_batching.preserve_ordering
    for tensors, entries in ((POSTPROCESS.inputs, config.input), (POSTPROCESS.outputs, config.output)):
        assert [entry.name for entry in entries] == [tensor.name for tensor in tensors]
        for entry, tensor in zip(entries, tensors, strict=True):
            assert loading.data_type(entry) == tensor.dtype
            assert list(entry.dims) == [dim if isinstance(dim, int) else -1 for dim in tensor.dims]
    for entry in config.input:
        assert entry.allow_ragged_batch == (-1 in entry.dims)

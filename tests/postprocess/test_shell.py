"""The Triton side of postprocess: every output always, errors for their own request only, a config that says what the contract says."""

from __future__ import annotations

import json

import numpy as np
import pytest

from fakes import loading
from masklet import rle
from masklet.contract import POSTPROCESS

SIZE = (90, 160)
L = 32


@pytest.fixture
def utils():
    with loading.backend_utils() as utils:
        yield utils


@pytest.fixture
def model(utils):
    return loading.load(loading.MODELS / "postprocess" / "1" / "model.py").TritonPythonModel()


@pytest.fixture
def request_of(utils):
    def make(low, size=SIZE, **parameters):
        tensors = {"LOW": low, "FRAME_SIZE": np.array(size, np.int32), "TIMES": np.arange(6, dtype=np.float32)}
        inputs = [utils.Tensor(name, array[None]) for name, array in tensors.items()]
        return utils.InferenceRequest(inputs=inputs, parameters=parameters, model_name="postprocess")

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
    assert len(answer["MASKS"]) == 2
    for data, box in zip(answer["MASKS"], answer["BOXES"], strict=True):
        rows, columns = np.nonzero(rle.decode(json.loads(data), SIZE))
        assert tuple(box) == (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
    assert answer["LOGITS"].shape == (0, 0, 0)


def test_boxes_are_computed_without_masks(model, request_of):
    with_masks = outputs(model.execute([request_of(logits())])[0])
    without = outputs(model.execute([request_of(logits(), masks="none")])[0])
    assert list(without["MASKS"]) == [b"", b""]
    np.testing.assert_array_equal(without["BOXES"], with_masks["BOXES"])


def test_logits_come_when_asked(model, request_of):
    np.testing.assert_array_equal(outputs(model.execute([request_of(logits(), logits=True)])[0])["LOGITS"], logits())


def test_an_absent_object_has_an_empty_mask_and_a_box_of_zeros(model, request_of):
    low = logits()
    low[0] = -1024
    answer = outputs(model.execute([request_of(low)])[0])
    assert not rle.decode(json.loads(answer["MASKS"][0])).any()
    assert list(answer["BOXES"][0]) == [0, 0, 0, 0]
    assert answer["BOXES"][1].any()


@pytest.mark.parametrize("form", ["rle", "bitmap", "png", "none"])
def test_a_control_request_has_no_objects(model, request_of, form):
    answer = outputs(model.execute([request_of(logits(0), size=(0, 0), masks=form)])[0])
    assert answer["MASKS"].shape == (0,)
    assert answer["BOXES"].shape == (0, 4)


def test_the_time_of_postprocess_follows_the_six_times_before(model, request_of):
    timing = outputs(model.execute([request_of(logits())])[0])["TIMING"]
    np.testing.assert_array_equal(timing[:6], np.arange(6))
    assert timing[6] > 0


def test_a_failure_answers_its_own_request_only(model, request_of, utils):
    good, bad, wrong = request_of(logits()), request_of(logits(), size=(0, 0)), request_of(logits(), masks="jpeg")
    responses = model.execute([good, bad, wrong, good])
    assert [response.has_error() for response in responses] == [False, True, True, False]
    assert responses[1].error().message().startswith("MASKLET_SERVER_FAULT: ")
    assert responses[2].error().message().startswith("MASKLET_BAD_PARAMETER: ")
    outputs(responses[3])


def test_a_bug_answers_its_own_request_only(model, request_of, utils):
    broken = utils.InferenceRequest(inputs=[], model_name="postprocess")
    responses = model.execute([broken, request_of(logits())])
    assert responses[0].error().message().startswith("MASKLET_SERVER_FAULT: postprocess failed with KeyError")
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

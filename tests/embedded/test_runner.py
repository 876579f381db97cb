"""The python model that runs engines: every runtime, batches, and what happens when an engine fails."""

from __future__ import annotations

import builtins
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

from masklet.envelope import Envelope, Prompt
from masklet.wire import Options
from masklet_build.embedded import runners
from tests.embedded.tiny_engines import attention_engine, encoder_engine
from tests.fakes import loading
from tests.fakes.sealing import opened, sealed

MODEL = loading.REPOSITORY / "build" / "src" / "masklet_build" / "embedded" / "model.py"
RUNTIMES = ("openvino", "onnxruntime", pytest.param("torch", marks=pytest.mark.torch))
PARAMETERS = {"precision": "fp32", "threads": "1", "device": "cpu"}


ENCODER = """name: "image_encoder" max_batch_size: 8
    input [ { name: "IMAGE" data_type: TYPE_UINT8 dims: [4, 4, 3] }, { name: "ENVELOPE" data_type: TYPE_UINT8 dims: [-1] } ]
    output [ { name: "EMBEDDING" data_type: TYPE_FP32 dims: [4, 4, 3] }, { name: "HIGH_RES" data_type: TYPE_FP32 dims: [4, 4, 3] },
             { name: "ENVELOPE" data_type: TYPE_UINT8 dims: [-1] } ]"""
ATTENTION = """name: "memory_attention" max_batch_size: 0 input { name: "MEMORY" data_type: TYPE_FP32 dims: [-1, -1, 2, 3] }
    output { name: "CONDITIONED" data_type: TYPE_FP32 dims: [-1, -1, 2, 3] }"""

Start = Callable[..., Any]


@pytest.fixture
def utils():
    with loading.backend_utils() as utils:
        yield utils


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The model's folder, with its version folder."""
    (tmp_path / "1").mkdir()
    return tmp_path


@pytest.fixture
def start(utils, folder) -> Start:
    """Starts the model with a config and parameters, as Triton does."""

    def start(config: str, **parameters: str) -> Any:
        message = text_format.Parse(config, model_config_pb2.ModelConfig())
        for name, value in (PARAMETERS | parameters).items():
            message.parameters[name].string_value = value
        model = loading.started(loading.load(MODEL), loading.arguments(message, folder))
        assert utils.Logger.lines == [("INFO", f"{message.name}: {parameters['runtime']} on cpu")]
        utils.Logger.lines.clear()
        return model

    return start


@pytest.fixture
def ask(utils):
    """Runs requests of one tensor each; gives responses."""

    def ask(model: Any, name: str, *arrays: np.ndarray) -> list[Any]:
        return model.execute([utils.InferenceRequest(inputs=[utils.Tensor(name, array)]) for array in arrays])

    return ask


FRAME = Envelope("abc", 5, size=(48, 64), options=Options(frame_index=3), prompts=(Prompt(1, ((1.0, 2.5),), (1,)),), received=7.0)


@pytest.fixture
def encode(utils):
    """Runs requests abc of video 5; gives responses. Each is an image, or an image and what is in ENVELOPE."""

    def request(image: np.ndarray, envelope: Envelope | np.ndarray = FRAME) -> Any:
        data = sealed(envelope) if isinstance(envelope, Envelope) else envelope
        tensors = [utils.Tensor("IMAGE", image), utils.Tensor("ENVELOPE", data[None])]
        return utils.InferenceRequest("abc", 5, tensors)

    return lambda model, *items: model.execute([request(*item) if isinstance(item, tuple) else request(item) for item in items])


def enclosed(response: Any) -> Envelope:
    """The envelope of an answer."""
    return opened(named(response)["ENVELOPE"][0])


def named(response: Any) -> dict[str, np.ndarray]:
    assert not response.has_error(), response.error().message()
    return {tensor.name(): tensor.as_numpy() for tensor in response.output_tensors()}


def images(*counts: int) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.integers(0, 256, (count, 4, 4, 3), dtype=np.uint8) for count in counts]


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("counts", [(1,), (1, 1, 1), (2, 1, 3)], ids=str)
def test_every_request_of_a_batch_gets_its_own_rows(start, encode, folder, runtime, counts):
    encoder_engine(folder / "1" / "engine", runtime)
    requests = images(*counts)
    responses = encode(start(ENCODER, runtime=runtime), *requests)
    for image, response in zip(requests, responses, strict=True):
        answer = named(response)
        np.testing.assert_array_equal(answer["EMBEDDING"], image.astype(np.float32) * 2)
        np.testing.assert_array_equal(answer["HIGH_RES"], image.astype(np.float32) / 2)


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_a_batch_is_one_run_of_the_engine(start, encode, folder, runtime, monkeypatch):
    encoder_engine(folder / "1" / "engine", runtime)
    model = start(ENCODER, runtime=runtime)
    sizes = _count_runs(model, monkeypatch)
    encode(model, *images(1, 1, 1))
    assert sizes == [3]


def _count_runs(model: Any, monkeypatch: pytest.MonkeyPatch, failing: int | None = None) -> list[int]:
    """Writes down the rows of every run of the engine. Runs whose first pixel is `failing` fail."""
    run, sizes = model._engine, []

    def counted(inputs):
        sizes.append(len(inputs["IMAGE"]))
        if failing is not None and (inputs["IMAGE"][:, 0, 0, 0] == failing).any():
            raise RuntimeError("out of memory")
        return run(inputs)

    monkeypatch.setattr(model, "_engine", counted)
    return sizes


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_an_image_that_fails_becomes_an_error_in_its_envelope_and_spoils_no_other(start, encode, folder, runtime, monkeypatch, utils):
    encoder_engine(folder / "1" / "engine", runtime)
    model = start(ENCODER, runtime=runtime)
    requests = images(1, 1, 1)
    for image, mark in zip(requests, (1, 77, 2), strict=True):
        image[:, 0, 0, 0] = mark
    sizes = _count_runs(model, monkeypatch, failing=77)
    responses = encode(model, *requests)
    answers = [named(response) for response in responses]
    assert sizes == [3, 1, 1, 1]
    for index in (0, 2):
        np.testing.assert_array_equal(answers[index]["EMBEDDING"], requests[index].astype(np.float32) * 2)
    for name in ("EMBEDDING", "HIGH_RES"):
        assert answers[1][name].shape == (1, 4, 4, 3)
        assert answers[1][name].dtype == np.float32
        assert not answers[1][name].any()
    error = "MASKLET_SERVER_FAULT: the image encoder failed on this frame. The video goes on; the server's log says why."
    assert [enclosed(response) for response in responses] == [FRAME, replace(FRAME, error=error), FRAME]
    assert utils.Logger.lines == [("ERROR", "engine image_encoder failed with RuntimeError: out of memory")]


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_an_image_of_another_size_fails_alone(start, encode, folder, runtime):
    encoder_engine(folder / "1" / "engine", runtime)
    (good,) = images(1)
    responses = encode(start(ENCODER, runtime=runtime), good, good[:, :, :3], good)
    assert [bool(enclosed(response).error) for response in responses] == [False, True, False]
    assert [bool(named(response)["EMBEDDING"].any()) for response in responses] == [True, False, True]


@pytest.fixture
def encoder(start, folder) -> Any:
    encoder_engine(folder / "1" / "engine", "onnxruntime")
    return start(ENCODER, runtime="onnxruntime")


def test_the_envelope_of_each_request_goes_through(encoder, encode):
    full = Envelope("abc", 5, restores=True, size=(9, 9), prompts=(Prompt(2**63 - 1, mask=True),), received=1.5, preprocessed=2.5)
    assert [enclosed(response) for response in encode(encoder, (images(1)[0], FRAME), (images(1)[0], full))] == [FRAME, full]


@pytest.mark.parametrize("envelope", [Envelope("abc", 5), replace(FRAME, error="MASKLET_BAD_FRAME: no.")], ids=["control request", "refused"])
def test_what_needs_no_features_runs_no_engine(encoder, encode, monkeypatch, envelope):
    sizes = _count_runs(encoder, monkeypatch)
    idle, good = encode(encoder, (images(1)[0], envelope), images(1)[0])
    assert sizes == [1]
    assert enclosed(idle) == envelope
    shapes = [{name: array.shape for name, array in named(one).items() if name != "ENVELOPE"} for one in (idle, good)]
    assert shapes[0] == shapes[1]
    assert not named(idle)["EMBEDDING"].any()
    encode(encoder, (images(1)[0], envelope))
    assert sizes == [1], "a batch of nothing but such requests"


@pytest.mark.parametrize("whose", [{"token": "other"}, {"video": 6}, {"video": "5"}], ids=str)
def test_the_envelope_of_another_request_becomes_an_error_for_the_bank(encoder, encode, monkeypatch, whose):
    """It must reach the bank, which has to hear of START and END. Whether a snapshot came with it nobody knows, so no empty video may begin."""
    sizes = _count_runs(encoder, monkeypatch)
    wrong, good = encode(encoder, (images(1)[0], replace(FRAME, **whose)), images(1)[0])
    envelope = enclosed(wrong)
    assert envelope.error.startswith("MASKLET_SERVER_FAULT: preprocess_0_0 answered another request.")
    assert envelope == Envelope("abc", 5, error=envelope.error, restores=True)
    assert not named(wrong)["EMBEDDING"].any()
    assert sizes == [1]
    assert enclosed(good) == FRAME


@pytest.mark.parametrize("data", [b"", b"{}", b"0" * 32 + b" [{},{}]"])
def test_an_unsigned_envelope_is_an_error_of_its_request_alone(encoder, encode, monkeypatch, data):
    sizes = _count_runs(encoder, monkeypatch)
    refused, good = encode(encoder, (images(1)[0], np.frombuffer(data, np.uint8)), images(1)[0])
    assert refused.error().message().startswith("MASKLET_BAD_REQUEST: this model takes requests from other models of its server only")
    assert refused.error().message().endswith("[request abc]")
    assert sizes == [1]
    assert enclosed(good) == FRAME


def test_a_request_without_an_envelope_is_an_error_for_the_bank(encoder, encode, utils):
    image = utils.Tensor("IMAGE", images(1)[0])
    (response,) = encoder.execute([utils.InferenceRequest("abc", 5, [image])])
    assert enclosed(response).error.startswith("MASKLET_SERVER_FAULT: ")
    assert enclosed(response).restores


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_an_engine_of_the_bank_answers_a_failure_with_an_error(start, ask, folder, runtime, utils):
    attention_engine(folder / "1" / "engine", 1, runtime)
    good, bad = np.zeros((2, 3, 2, 3), np.float32), np.zeros((2, 3, 9, 9), np.float32)
    responses = ask(start(ATTENTION, runtime=runtime), "MEMORY", good, bad, good)
    assert [response.has_error() for response in responses] == [False, True, False]
    assert responses[1].error().message().startswith("engine memory_attention failed with ")
    assert [level for level, _ in utils.Logger.lines] == ["ERROR"]


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_an_answer_is_not_changed_by_the_next_run(start, ask, folder, runtime):
    attention_engine(folder / "1" / "engine", 1, runtime)
    model = start(ATTENTION, runtime=runtime)
    first, second = (np.full((1, 2, 2, 3), value, np.float32) for value in (10, 20))
    answers = [named(response)["CONDITIONED"] for response in ask(model, "MEMORY", first, second)]
    np.testing.assert_array_equal(answers[0], first + 1)
    np.testing.assert_array_equal(answers[1], second + 1)


@pytest.mark.parametrize("runtime", ["openvino", "onnxruntime"])
def test_a_missing_package_is_named(start, folder, runtime, monkeypatch):
    attention_engine(folder / "1" / "engine", 1, runtime)
    real = builtins.__import__

    def absent(name, *rest):
        if name == runtime:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", absent)
    monkeypatch.setattr(runners, "openvino_core", runners.openvino_core.__wrapped__)  # as in a process that has not imported it yet
    with pytest.raises(ModuleNotFoundError, match=f"package '{runtime}' is not installed in Triton's python environment"):
        start(ATTENTION, runtime=runtime)


def test_bfloat16_on_openvino_is_near_float32(start, encode, folder):
    encoder_engine(folder / "1" / "engine.onnx")
    (image,) = images(1)
    answer = named(encode(start(ENCODER, runtime="openvino", precision="bf16"), image)[0])
    assert answer["EMBEDDING"].dtype == np.float32
    np.testing.assert_allclose(answer["EMBEDDING"], image.astype(np.float32) * 2, rtol=2**-7)  # bfloat16 keeps 8 bits


def test_a_missing_engine_is_named(start, folder):
    with pytest.raises(FileNotFoundError, match=r"1/engine\.onnx is missing"):
        start(ATTENTION, runtime="openvino")


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"runtime": "tensorflow"}, "use runtime openvino in fp32 or bf16, onnxruntime in fp32, torch in fp32 or bf16 or fp16"),
        ({"runtime": "openvino", "precision": "fp16"}, "precision 'fp16'"),
        ({"runtime": "openvino", "threads": "-1"}, "threads 0"),
        ({"runtime": "onnxruntime", "precision": "bf16"}, "onnxruntime in fp32, torch"),
        ({}, "'runtime' is missing"),
    ],
    ids=["runtime", "precision", "threads", "bf16 on onnxruntime", "missing"],
)
def test_a_wrong_parameter_is_explained(start, folder, parameters, message):
    attention_engine(folder / "1" / "engine.onnx", 1)
    with pytest.raises(ValueError, match=message):
        start(ATTENTION, **parameters)


@pytest.mark.parametrize("name", ["image_encoder", "memory_attention", "mask_decoder", "memory_encoder", "mask_prompt"])
def test_the_configs_of_engines_are_policy_only(name):
    """What differs between variants and targets comes from assembly."""
    config = loading.config(name)
    assert config.name == name
    assert not config.input
    assert not config.output
    assert not config.backend
    assert config.max_batch_size == (8 if name == "image_encoder" else 0)
    assert config.HasField("sequence_batching") == (name == "image_encoder")
    assert not config.HasField("dynamic_batching")

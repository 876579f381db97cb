"""The inner models called by their names, as any client may: they take what the stages of this server made, of this very request, and nothing else.

No process ends by what a client sends, and a video beside it keeps its bits.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import pytest
import tritonclient.grpc as grpc
from tritonclient.utils import InferenceServerException, np_to_triton_dtype

from masklet import errors
from masklet.contract import POSTPROCESS, image_encoder, memory_bank, preprocess
from masklet.envelope import MAX_BYTES
from masklet.errors import from_server
from masklet.mask_bytes import separated
from masklet_build.models.variants import variant
from masklet_build.serve import Server
from tests.serving.clips import clip
from tests.serving.small import VARIANT
from tests.serving.test_bad_input import COUNT, Film, alone, neighbour, same, wire
from tests.serving.wire import as_sent

__all__ = ["alone", "neighbour", "wire"]  # fixtures

pytestmark = [pytest.mark.server, pytest.mark.torch]

MODELS = {model.name: model for model in (preprocess(variant(VARIANT)), image_encoder(variant(VARIANT)), memory_bank(variant(VARIANT)), POSTPROCESS)}
FRAME = clip(1, seed=8)[0]
CLICK = {"object": 4, "points": [[20, 15]], "labels": [1]}
VIDEO, TOKEN = 700_001, "0123456789abcdef"
Tensors = dict[str, np.ndarray]


class Inner:
    """Calls models by name, in the place of the ensemble."""

    def __init__(self, url: str) -> None:
        self._client = grpc.InferenceServerClient(url)

    def call(self, model: str, tensors: Mapping[str, Any], token: str = TOKEN, video: int | str = VIDEO) -> Tensors:
        """Outputs without batch dimension. Each request begins and ends its video. Raises what the client would raise."""
        inputs = []
        for name, value in as_sent(tensors).items():
            array = np.asarray(value)[None]
            inputs.append(grpc.InferInput(name, array.shape, np_to_triton_dtype(array.dtype)).set_data_from_numpy(array))
        try:
            answer = self._client.infer(model, inputs, request_id=token, sequence_id=video, sequence_start=True, sequence_end=True)
        except InferenceServerException as error:
            raise from_server(str(error)) from error
        return {output.name: answer.as_numpy(output.name)[0] for output in answer.get_response().outputs}

    def inputs(self, model: str, token: str = TOKEN, video: int | str = VIDEO) -> Tensors:
        """What the stages before a model hand to it, for one frame with one click."""
        made = self.call("preprocess", {"FRAME": FRAME, "PROMPTS": _json([CLICK])}, token, video)
        if model == "image_encoder":
            return {name: made[name] for name in ("IMAGE", "ENVELOPE")}
        made |= self.call("image_encoder", {name: made[name] for name in ("IMAGE", "ENVELOPE")}, token, video)
        made = {tensor.name: made[tensor.name] for tensor in MODELS["memory_bank"].inputs}
        if model == "memory_bank":
            return made
        made = self.call("memory_bank", made, token, video)
        return {name: made[name] for name in ("LOW", "ENVELOPE", "FRAME_INDEX")}


def _json(value: object) -> np.ndarray:
    return np.array([json.dumps(value).encode()], np.object_)


def enclosed(tensors: Tensors) -> dict[str, Any]:
    """The readable part of an envelope."""
    return json.loads(tensors["ENVELOPE"].tobytes().partition(b" ")[2])[0]


@pytest.fixture
def inner(small_server: Server) -> Inner:
    return Inner(small_server.grpc_url)


@pytest.fixture(autouse=True)
def _nobody_notices(small_server: Server, neighbour: Film, alone: dict[int, list[Any]]) -> Iterator[None]:
    """Every python model is still the same process, and a video that lives meanwhile gets the same bits."""
    before = small_server.stubs()
    assert {name.rpartition("_0_")[0] for name in before.values()} >= set(MODELS)
    assert same(neighbour.send(start=True), alone[2][0])
    yield
    for index in range(1, COUNT):
        assert same(neighbour.send(end=index == COUNT - 1), alone[2][index])
    assert small_server.stubs() == before


def test_stage_by_stage_a_frame_gets_what_the_ensemble_gives(inner: Inner, small_server: Server) -> None:
    """So what is refused below is refused for what is wrong with it."""
    by_hand = inner.call("postprocess", inner.inputs("postprocess"))
    whole = inner.call("tracker", {"FRAME": FRAME, "PROMPTS": _json([CLICK])})
    assert [part.tobytes() for part in separated(by_hand)] == [part.tobytes() for part in separated(whole)]
    assert by_hand["TOKEN"].tobytes() == whole["TOKEN"].tobytes() == TOKEN.encode()


BEHIND = ("image_encoder", "memory_bank", "postprocess")


def _changed(data: bytes) -> bytes:
    return data.replace(b'"object', b'"Object') if b'"object' in data else data[:-2] + bytes([data[-2] ^ 1]) + data[-1:]


FORGERIES: dict[str, Callable[[bytes], bytes]] = {
    "a byte changed": _changed,
    "cut off": lambda data: data[:-1],
    "empty": lambda data: b"",
    "signature left out": lambda data: data.partition(b" ")[2],
    "signature of another": lambda data: b"0" * 32 + data[32:],
    "another size": lambda data: data.replace(b'"size":[48,64]', b'"size":[2147483647,2147483647]'),
    "zeros": lambda data: bytes(len(data)),
    "huge": lambda data: data + bytes(MAX_BYTES - len(data)),
    "stopped": lambda data: data.replace(b'"stopped":false', b'"stopped":true'),
}


@pytest.mark.parametrize("forgery", FORGERIES)
@pytest.mark.parametrize("model", BEHIND)
def test_an_envelope_that_a_client_has_made_is_refused(inner: Inner, model: str, forgery: str) -> None:
    tensors = inner.inputs(model)
    data = tensors["ENVELOPE"].tobytes()
    forged = FORGERIES[forgery](data)
    assert forged != data
    with pytest.raises(errors.BadRequest, match="Send yours to the model `tracker`"):
        inner.call(model, {**tensors, "ENVELOPE": np.frombuffer(forged, np.uint8)})


@pytest.mark.parametrize("model", BEHIND)
def test_an_envelope_longer_than_any_is_refused_unread(inner: Inner, model: str) -> None:
    with pytest.raises(errors.BadRequest, match="at most 4194304 bytes are read"):
        inner.call(model, {**inner.inputs(model), "ENVELOPE": np.zeros(MAX_BYTES + 1, np.uint8)})


@pytest.mark.parametrize("model", BEHIND)
def test_an_envelope_of_another_rank_or_type_is_refused_by_triton(inner: Inner, model: str) -> None:
    tensors = inner.inputs(model)
    for odd in (tensors["ENVELOPE"][None], tensors["ENVELOPE"].astype(np.float32), np.array([tensors["ENVELOPE"].tobytes()], np.object_)):
        with pytest.raises(errors.ServerFault, match=r"unexpected shape|data-type is"):  # of an inner model: see masklet.errors
            inner.call(model, {**tensors, "ENVELOPE": odd})


@pytest.mark.parametrize(("token", "video"), [("other", VIDEO), (TOKEN, VIDEO + 1), (TOKEN, str(VIDEO)), ("other", VIDEO + 1)])
@pytest.mark.parametrize("model", ["memory_bank", "postprocess"])
def test_what_was_made_of_another_request_is_refused(inner: Inner, model: str, token: str, video: int | str) -> None:
    """Behind the bank nobody knows what became of the request that the answer was meant for."""
    error = errors.VideoLost if model == "postprocess" else errors.ServerFault
    tensors = inner.inputs(model)
    for _ in range(3):
        with pytest.raises(error, match="answered another request"):
            inner.call(model, tensors, token, video)


@pytest.mark.parametrize(("token", "video"), [("other", VIDEO), (TOKEN, VIDEO + 1)])
def test_the_encoder_tells_the_bank_of_what_was_made_of_another_request(inner: Inner, token: str, video: int) -> None:
    """It never fails a request, which might be the END of a video."""
    made = inner.call("image_encoder", inner.inputs("image_encoder"), token, video)
    envelope = enclosed(made)
    assert (envelope["token"], envelope["video"]) == (token, video)
    assert "answered another request" in envelope["error"]
    assert not made["EMBEDDING"].any()


def test_the_answer_to_another_request_begins_no_video(inner: Inner) -> None:
    tensors = inner.inputs("memory_bank")
    with pytest.raises(errors.ServerFault):
        inner.call("memory_bank", tensors, TOKEN, VIDEO + 1)
    whole = inner.call("tracker", {"FRAME": FRAME, "PROMPTS": _json([CLICK])}, "next", VIDEO + 1)
    assert whole["FRAME_INDEX"].tolist() == [0]


@pytest.mark.parametrize("count", [0, 2])
def test_tensors_of_another_number_than_the_envelope_says_are_refused(inner: Inner, count: int) -> None:
    masks = inner.inputs("memory_bank")
    size = masks["PROMPT_MASKS"].shape[1]
    with pytest.raises(errors.BadRequest, match=r"1 masks came with an envelope for 0|2 masks"):
        inner.call("memory_bank", {**masks, "PROMPT_MASKS": np.ones((max(count, 1), size, size), np.uint8)})
    low = inner.inputs("postprocess")
    with pytest.raises(errors.BadRequest, match=f"{count} objects of logits came with an envelope for 1"):
        inner.call("postprocess", {**low, "LOW": np.repeat(low["LOW"], count, axis=0)})


def test_postprocess_takes_no_size_from_a_client(inner: Inner) -> None:
    """A mask of 2**31 - 1 pixels a side would need all memory."""
    with pytest.raises(errors.MaskletError, match="FRAME_SIZE"):
        inner.call("postprocess", {**inner.inputs("postprocess"), "FRAME_SIZE": np.array([2**31 - 1, 2**31 - 1], np.int32)})

"""What Triton itself does with odd requests to any model: it refuses them before they share a batch with anybody's, and lives.

Triton 2.51 looks into a tensor of BYTES only when it runs a batch, and fails all of it where the contents are cut off; and it divides by zero where
`classification` of such an output is asked for. So no model has such an output, and no model but the first such an input; that one runs request by
request.
"""

from __future__ import annotations

import itertools
import json
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import grpc
import numpy as np
import pytest
from tritonclient.grpc import service_pb2, service_pb2_grpc
from tritonclient.utils import np_to_triton_dtype, serialize_byte_tensor

from masklet.contract import TRACKER, escorted
from masklet_build.serve import Server
from tests.serving.clips import encoded
from tests.serving.test_bad_input import COUNT, alone, film
from tests.serving.test_inner_models import CLICK, FRAME, MODELS, TOKEN, Inner, inner
from tests.serving.wire import Wire, as_sent

__all__ = ["alone", "inner"]  # fixtures

pytestmark = [pytest.mark.server, pytest.mark.torch]

FILMS = 8  # honest ones, one after the other
WAITING = 16  # odd requests at a time
_ids = itertools.count(800_001)
Message = Any


@dataclass(frozen=True)
class Raw:
    """A tensor as it is sent."""

    datatype: str
    shape: tuple[int, ...]
    data: bytes

    @classmethod
    def of(cls, value: np.ndarray) -> Raw:
        array = value[None]
        data = serialize_byte_tensor(array).item() if array.dtype == np.object_ else array.tobytes()
        return cls(np_to_triton_dtype(array.dtype), array.shape, data)


def message(model: str, tensors: Mapping[str, Raw], video: int, token: str) -> Message:
    """A request that begins and ends a video."""
    made = service_pb2.ModelInferRequest(model_name=model, id=token)
    for name, raw in tensors.items():
        made.inputs.add(name=name, datatype=raw.datatype, shape=raw.shape)
        made.raw_input_contents.append(raw.data)
    made.parameters["sequence_id"].int64_param = video
    made.parameters["sequence_start"].bool_param = made.parameters["sequence_end"].bool_param = True
    return made


def good_inputs(inner: Inner, model: str, video: int) -> dict[str, Raw]:
    """Every input of a model that may come together with the others, right."""
    if model in ("preprocess", "tracker"):
        return {
            **{name: Raw.of(array) for name, array in as_sent({"FRAME": FRAME}).items()},
            "PROMPTS": Raw.of(np.array([json.dumps([CLICK]).encode()], np.object_)),
        }
    return {name: Raw.of(value) for name, value in inner.inputs(model, TOKEN, video).items()}


def broken(good: Raw) -> list[Raw]:
    """The tensor with contents that do not fit its shape or type."""
    datatype, shape, data = good.datatype, good.shape, good.data
    strings = [b"\x0a\x00\x00\x00abc", b"\x0a", b"\xff\xff\xff\xff", b"\x01\x00\x00\x00ab"]
    return [
        *(Raw(datatype, shape, part) for part in (b"", data[:-1], data[: len(data) // 2], data + b"\x01") if part != data),
        *(Raw("BYTES", (1, 1), text) for text in strings),
        Raw(datatype, (*shape[:-1], shape[-1] + 1), data),
    ]


class Stranger(threading.Thread):
    """Sends messages over and over, WAITING at a time, until it is told to stop. `answers`: an error text, or empty, per message."""

    def __init__(self, url: str, messages: Sequence[Message]) -> None:
        super().__init__(daemon=True)
        self.answers: list[str] = []
        self.begun, self.stopping = threading.Event(), threading.Event()
        self._url, self._messages = url, messages

    def run(self) -> None:
        with grpc.insecure_channel(self._url, options=[("grpc.max_receive_message_length", -1), ("grpc.use_local_subchannel_pool", 1)]) as channel:
            call = service_pb2_grpc.GRPCInferenceServiceStub(channel).ModelInfer
            endless = itertools.cycle(self._messages)
            while not self.stopping.is_set():
                for future in [call.future(one, timeout=30) for one in itertools.islice(endless, WAITING)]:
                    error = future.exception()
                    self.answers.append("" if error is None else error.details())
                self.begun.set()


@contextmanager
def stranger(url: str, messages: Sequence[Message]) -> Iterator[Stranger]:
    """While open, a stranger sends these."""
    one = Stranger(url, messages)
    one.start()
    assert one.begun.wait(60)
    try:
        yield one
    finally:
        one.stopping.set()
        one.join()


@pytest.fixture
def honest(small_server: Server, alone: dict[int, list[Any]]) -> Any:
    """Tracks videos one after the other: each answer must have the bits of the video alone."""

    def track() -> None:
        with Wire(small_server.grpc_url) as wire:
            for _ in range(FILMS):
                one = film(wire, 2)
                for index in range(COUNT):
                    answer = one.send(start=index == 0, end=index == COUNT - 1)
                    assert isinstance(answer, dict), answer
                    assert all(np.array_equal(answer[name], alone[2][index][name]) for name in answer if name != "TIMING")

    return track


ALL = (TRACKER, *(escorted(model) if model.name == "image_encoder" else model for model in MODELS.values()))
INPUTS = [(model.name, tensor.name) for model in ALL for tensor in model.inputs]


@pytest.mark.parametrize(("model", "name"), INPUTS)
def test_contents_that_are_cut_off_cost_nobody_else_a_frame(small_server: Server, inner: Inner, honest: Any, model: str, name: str) -> None:
    before = small_server.stubs()
    others = {"FRAME_ENCODED": np.array([encoded(FRAME)], np.object_), "STATE": np.ones(9, np.uint8)}
    messages = []
    video = next(_ids)
    tensors = good_inputs(inner, model, video)
    if name == "FRAME_ENCODED":
        del tensors["FRAME"]
    for odd in broken(tensors.get(name) or Raw.of(others[name])):
        messages.append(message(model, {**tensors, name: odd}, next(_ids), TOKEN))
        messages.append(message(model, {**tensors, name: odd}, video, TOKEN))
    with stranger(small_server.grpc_url, messages) as one:
        honest()
    assert len(one.answers) >= WAITING
    assert all(one.answers), "what does not fit is refused"
    assert small_server.stubs() == before


OUTPUTS = [(model.name, tensor.name) for model in ALL for tensor in model.outputs]


@pytest.mark.parametrize(("model", "name"), OUTPUTS)
def test_classes_of_any_output_may_be_asked_for(small_server: Server, inner: Inner, honest: Any, model: str, name: str) -> None:
    before = small_server.stubs()
    video = next(_ids)
    messages = []
    for count in (1, 3, 2**31 - 1, 2**40):
        for parameters in ({}, {"masks": "none"}, {"masks": "bitmap"}) if model == "tracker" else ({},):
            made = message(model, good_inputs(inner, model, video), video, TOKEN)
            made.outputs.add(name=name).parameters["classification"].int64_param = count
            for key, value in parameters.items():
                made.parameters[key].string_param = value
            messages.append(made)
    with stranger(small_server.grpc_url, messages) as one:
        honest()
    assert len(one.answers) >= WAITING
    assert not any("unavailable" in text.lower() or "connect" in text.lower() for text in one.answers)
    assert small_server.stubs() == before


@pytest.mark.parametrize("model", ["image_encoder", "memory_bank", "postprocess"])
def test_a_batch_of_none_is_refused(small_server: Server, inner: Inner, honest: Any, model: str) -> None:
    """Triton 2.51 takes one where every input can be empty, and what waits behind it waits for ever."""
    good = good_inputs(inner, model, next(_ids))
    free = {
        tensor.name: [tensor.dims[0] in ("n", "k"), *[False] * (len(tensor.dims) - 1)] for one in ALL if one.name == model for tensor in one.inputs
    }
    sides = {name: [0 if empty else side for empty, side in zip(free[name], raw.shape[1:], strict=True)] for name, raw in good.items()}
    none = {name: Raw(raw.datatype, (0, *sides[name]), b"") for name, raw in good.items()}
    with stranger(small_server.grpc_url, [message(model, none, next(_ids), TOKEN)]) as one:
        honest()
    assert all("MASKLET" not in text and "Deadline" not in text and text for text in one.answers)

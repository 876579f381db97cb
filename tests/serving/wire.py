"""Requests made by hand, for everything that the masklet client would not send."""

from __future__ import annotations

import json
import queue
from collections.abc import Iterator, Mapping
from types import TracebackType
from typing import Any

import grpc
import numpy as np
from tritonclient.grpc import InferResult, service_pb2, service_pb2_grpc
from tritonclient.utils import np_to_triton_dtype, serialize_byte_tensor

from masklet.errors import MaskletError, from_server

TIMEOUT_S = 60  # for a whole stream

Answer = dict[str, np.ndarray]
_FIELDS = {bool: "bool_param", int: "int64_param", str: "string_param", float: "double_param"}


class Wire:
    """One gRPC stream. A context manager; requests are answered in the order in which they were sent."""

    def __init__(self, url: str) -> None:
        self._channel = grpc.insecure_channel(url, options=[("grpc.max_receive_message_length", -1), ("grpc.use_local_subchannel_pool", 1)])
        self._outbox: queue.SimpleQueue[Any] = queue.SimpleQueue()
        stub = service_pb2_grpc.GRPCInferenceServiceStub(self._channel)
        self._answers: Iterator[Any] = stub.ModelStreamInfer(iter(self._outbox.get, None), timeout=TIMEOUT_S)

    def __enter__(self) -> Wire:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._outbox.put(None)
        self._channel.close()

    def ask(
        self, video_id: int | str, tensors: Mapping[str, Any], *, start: bool = False, end: bool = False, **parameters: Any
    ) -> Answer | MaskletError:
        """Sends a request and waits for its answer."""
        self.send(video_id, tensors, start=start, end=end, **parameters)
        return self.receive()

    def send(self, video_id: int | str, tensors: Mapping[str, Any], *, start: bool = False, end: bool = False, **parameters: Any) -> None:
        """Sends a request. An array gets the batch dimension 1; bytes become a BYTES tensor, lists JSON; a FRAME [H, W, C] the two that it is."""
        message = service_pb2.ModelInferRequest(model_name="tracker")
        for name, value in as_sent(tensors).items():
            _add(message, name, value)
        for name, value in {**parameters, "sequence_id": video_id, "sequence_start": start, "sequence_end": end}.items():
            setattr(message.parameters[name], _FIELDS[type(value)], value)
        self._outbox.put(message)

    def receive(self) -> Answer | MaskletError:
        """Waits for the next answer: the outputs without batch dimension, or what the client would raise for the error."""
        answer = next(self._answers)
        if answer.error_message:
            return from_server(answer.error_message)
        result = InferResult(answer.infer_response)
        return {output.name: result.as_numpy(output.name)[0] for output in answer.infer_response.outputs}


def as_sent(tensors: Mapping[str, Any]) -> dict[str, Any]:
    """The tensors with FRAME [H, W, C] as the wire has it: its bytes, and FRAME_SIZE. A FRAME of another rank stays."""
    frame = tensors.get("FRAME")
    if frame is None or frame.ndim != 3:
        return dict(tensors)
    return {**tensors, "FRAME": frame.reshape(-1), "FRAME_SIZE": np.array(frame.shape[:2], np.int32)}


def _add(message: Any, name: str, value: Any) -> None:
    if isinstance(value, list):
        value = json.dumps(value).encode()
    array = np.array([value], dtype=np.object_) if isinstance(value, bytes) else value
    array = array[None]
    message.inputs.add(name=name, datatype=np_to_triton_dtype(array.dtype), shape=array.shape)
    message.raw_input_contents.append(serialize_byte_tensor(array).item() if array.dtype == np.object_ else array.tobytes())

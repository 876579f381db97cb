"""A client's stream of raw messages, and requests to send on it."""

from __future__ import annotations

import queue
from collections.abc import Iterator
from contextlib import contextmanager

import grpc
import numpy as np
import tritonclient.grpc as tritonclient
from tritonclient.grpc import service_pb2
from tritonclient.utils import np_to_triton_dtype

from masklet.errors import MaskletError, from_server
from masklet.inputs import bytes_tensor, raw_tensors
from tests.deploy.message_server import STREAM, UNLIMITED
from tests.failover.gateways import Gateway

PATIENCE_S = 60


class Stream:
    """Sends ModelInferRequests as bytes, and reads what is answered."""

    def __init__(self, channel: grpc.Channel, compression: grpc.Compression | None = None) -> None:
        self._outbox: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._call = channel.stream_stream(STREAM)(
            iter(self._outbox.get, None), metadata=(("x-video-id", "1"),), compression=compression, timeout=PATIENCE_S
        )

    def send(self, *messages: bytes) -> None:
        for message in messages:
            self._outbox.put(message)

    def receive(self) -> tuple[str, MaskletError | None]:
        """Id and error of the next answer."""
        answer = service_pb2.ModelStreamInferResponse.FromString(next(self._call))
        return answer.infer_response.id, from_server(answer.error_message) if answer.error_message else None

    def end(self) -> list[tuple[str, MaskletError | None]]:
        """The answers still to come."""
        self._outbox.put(None)
        rest = []
        while True:
            try:
                rest.append(self.receive())
            except StopIteration:
                return rest


@contextmanager
def opened(gateway: Gateway, compression: grpc.Compression | None = None) -> Iterator[Stream]:
    with grpc.insecure_channel(gateway.url, options=UNLIMITED) as channel:
        yield Stream(channel, compression)


def frame_of(index: int) -> list[tritonclient.InferInput]:
    """A frame as a request of the KServe protocol."""
    tensors = {**raw_tensors(np.full((48, 64, 3), 40 * index, np.uint8)), "PROMPTS": bytes_tensor(b"[]")}
    inputs = [tritonclient.InferInput(name, array.shape, np_to_triton_dtype(array.dtype)) for name, array in tensors.items()]
    for made, array in zip(inputs, tensors.values(), strict=True):
        made.set_data_from_numpy(array)
    return inputs


def raw_frame(token: str, *, start: bool = False, end: bool = False) -> bytes:
    """A ModelInferRequest with a frame, as it crosses the wire."""
    request = service_pb2.ModelInferRequest(model_name="tracker", id=token)
    request.parameters["sequence_id"].int64_param = 4711
    request.parameters["sequence_start"].bool_param = start
    request.parameters["sequence_end"].bool_param = end
    for made in frame_of(1):
        request.inputs.append(made._get_tensor())
        request.raw_input_contents.append(made._get_content())
    return bytes(request.SerializeToString())

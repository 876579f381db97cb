"""A gRPC server in this process that speaks Triton's protocol, with a handler of requests behind it.

It reads and writes tensors with tritonclient's own functions, so that the client's way of doing it is compared with the original.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc
import numpy as np
from tritonclient.grpc import service_pb2, service_pb2_grpc
from tritonclient.utils import deserialize_bytes_tensor, np_to_triton_dtype, serialize_byte_tensor, triton_to_np_dtype

from masklet.contract import TRACKER
from masklet.testing import Answer, Refusal, Request, answered

Handler = Callable[[Request], Answer | Refusal]


@dataclass
class Servicer(service_pb2_grpc.GRPCInferenceServiceServicer):
    """Answers a stream's requests in order. `headers` and `peers` are those of each stream; `ended`: its client closed it in good order;
    `over`: how many are over, one way or the other."""

    handler: Handler
    headers: list[dict[str, str]] = field(default_factory=list)
    peers: list[str] = field(default_factory=list)
    models: list[str] = field(default_factory=list)
    ended: list[bool] = field(default_factory=list)
    over: int = 0

    def ModelStreamInfer(self, requests: Iterator[Any], context: Any) -> Iterator[Any]:
        self.headers.append(dict(context.invocation_metadata()))
        self.peers.append(context.peer())
        context.add_callback(self._count)
        for message in requests:
            self.models.append(message.model_name)
            request = _request(message)
            yield _response(answered(request, self.handler(request)))
        self.ended.append(True)

    def _count(self) -> None:
        self.over += 1


@contextmanager
def serving(handler: Handler, credentials: grpc.ServerCredentials | None = None) -> Iterator[tuple[str, Servicer, grpc.Server]]:
    """A server on a free port: its address, its record, itself. `credentials`: of TLS."""
    servicer = Servicer(handler)
    server = grpc.server(ThreadPoolExecutor(8))
    service_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(servicer, server)
    port = server.add_secure_port("localhost:0", credentials) if credentials else server.add_insecure_port("localhost:0")
    server.start()
    try:
        yield f"localhost:{port}", servicer, server
    finally:
        server.stop(None).wait()


def _request(message: Any) -> Request:
    parameters = {name: getattr(value, value.WhichOneof("parameter_choice")) for name, value in message.parameters.items()}
    tensors = {}
    for tensor, raw in zip(message.inputs, message.raw_input_contents, strict=True):
        assert tensor.datatype == next(known.dtype for known in TRACKER.inputs if known.name == tensor.name)
        flat = deserialize_bytes_tensor(raw) if tensor.datatype == "BYTES" else np.frombuffer(raw, triton_to_np_dtype(tensor.datatype))
        tensors[tensor.name] = flat.reshape(tuple(tensor.shape))
    names = ("sequence_id", "sequence_start", "sequence_end")
    return Request(*(parameters.pop(name) for name in names), tensors, parameters, message.id)


def _response(reply: Answer | Refusal) -> Any:
    if isinstance(reply, Refusal):
        refused = service_pb2.ModelInferResponse(id=reply.id)  # as Triton does
        return service_pb2.ModelStreamInferResponse(error_message=reply.text, infer_response=refused)
    response = service_pb2.ModelInferResponse(model_name="tracker", id=reply.id)
    for name, array in reply.tensors.items():
        response.outputs.add(name=name, datatype=np_to_triton_dtype(array.dtype), shape=(1, *array.shape))
        serialised = serialize_byte_tensor(array) if array.dtype == np.object_ else array
        raw = serialised.item() if array.dtype == np.object_ and array.size else serialised.tobytes()
        response.raw_output_contents.append(raw)
    return service_pb2.ModelStreamInferResponse(infer_response=response)

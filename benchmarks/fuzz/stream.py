"""One gRPC stream whose answers may be waited for with a limit."""

from __future__ import annotations

import queue
import threading
from types import TracebackType
from typing import Any

import grpc
from tritonclient.grpc import service_pb2, service_pb2_grpc

from benchmarks.fuzz.messages import Message

_OPTIONS = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1), ("grpc.use_local_subchannel_pool", 1)]


def inputs(url: str, model: str) -> dict[str, tuple[str, tuple[int, ...]]]:
    """The inputs of a model as the server describes them: name -> data type and dimensions, the batch first, -1 for any."""
    with grpc.insecure_channel(url, options=_OPTIONS) as channel:
        stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
        described = stub.ModelMetadata(service_pb2.ModelMetadataRequest(name=model), timeout=30)
    return {one.name: (one.datatype, tuple(one.shape)) for one in described.inputs}


class Stream:
    """A context manager. Answers come in the order of the requests."""

    def __init__(self, url: str) -> None:
        self._channel = grpc.insecure_channel(url, options=_OPTIONS)
        self._outbox: queue.SimpleQueue[Message | None] = queue.SimpleQueue()
        self._inbox: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._call = service_pb2_grpc.GRPCInferenceServiceStub(self._channel).ModelStreamInfer(iter(self._outbox.get, None))
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def __enter__(self) -> Stream:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._outbox.put(None)
        self._call.cancel()
        self._reader.join(10)
        self._channel.close()

    def send(self, message: Message) -> None:
        """Sends a request."""
        self._outbox.put(message)

    def receive(self, timeout_s: float) -> Any:
        """The next answer. Raises TimeoutError, or ConnectionError when the stream is broken."""
        try:
            answer = self._inbox.get(timeout=timeout_s)
        except queue.Empty:
            raise TimeoutError from None
        if isinstance(answer, Exception):
            self._inbox.put(answer)
            raise ConnectionError(str(answer)[:500]) from answer
        return answer

    def _read(self) -> None:
        try:
            for answer in self._call:
                self._inbox.put(answer)
            self._inbox.put(ConnectionError("the server ended the stream"))
        except grpc.RpcError as error:
            self._inbox.put(error)

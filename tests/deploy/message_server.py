"""A gRPC server that keeps what reaches it, behind a gateway: which messages, byte for byte, and answers when it is told to."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import grpc
from tritonclient.grpc import service_pb2

from tests.failover.gateways import Gateway, Ports, free_port, wait_until_healthy
from tests.failover.names import Names

STREAM = "/inference.GRPCInferenceService/ModelStreamInfer"
UNLIMITED = (("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1), ("grpc.use_local_subchannel_pool", 1))
HOST = "127.0.0.1"


class Received:
    """What came, stream by stream in one list, and whether answers are held back: `answers` is set while they are not."""

    def __init__(self) -> None:
        self.messages: list[bytes] = []
        self.answers = threading.Event()
        self.answers.set()

    def stream(self, requests: Iterator[bytes], context: grpc.ServicerContext) -> Iterator[bytes]:
        """Answers each request under its id, or with its model's name as the error, as Triton does where there is no such model."""
        held: list[bytes] = []
        for message in requests:
            self.messages.append(message)
            held.append(message)
            if self.answers.is_set():
                yield from map(answer, held)
                held.clear()
        self.answers.wait()
        yield from map(answer, held)


def answer(message: bytes) -> bytes:
    """A ModelStreamInferResponse."""
    request = service_pb2.ModelInferRequest.FromString(message)
    known = request.model_name == "tracker"
    made = service_pb2.ModelStreamInferResponse(error_message="" if known else f"Request for unknown model: '{request.model_name}' is not found")
    made.infer_response.id = request.id
    return bytes(made.SerializeToString())


class _Healthy(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing."""


@contextmanager
def behind(kind: Callable[[str, Path, Ports], Any], program: str, folder: Path) -> Iterator[tuple[Gateway, Received]]:
    """The gateway, healthy, and what reaches the server behind it."""
    received = Received()
    server = grpc.server(ThreadPoolExecutor(16), options=UNLIMITED)
    method = grpc.stream_stream_rpc_method_handler(received.stream)
    service, name = STREAM.strip("/").split("/")
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, {name: method}),))
    port = free_port()
    server.add_insecure_port(f"{HOST}:{port}")
    health = ThreadingHTTPServer((HOST, 0), _Healthy)
    threading.Thread(target=health.serve_forever, daemon=True).start()
    server.start()
    with Names() as names:
        names.addresses = (HOST,)
        with kind(program, folder, Ports(port, health.server_address[1], names.port)) as gateway:
            wait_until_healthy(gateway, 1)
            yield gateway, received
    server.stop(None).wait()
    health.shutdown()
    health.server_close()

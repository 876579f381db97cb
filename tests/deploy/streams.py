"""A client's stream of raw messages."""

from __future__ import annotations

import queue
from collections.abc import Iterator
from contextlib import contextmanager

import grpc
from tritonclient.grpc import service_pb2

from deploy.message_server import STREAM, UNLIMITED
from failover.gateways import Gateway
from masklet.errors import MaskletError, from_server

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

"""Clients that vanish: in the middle of a stream, of a message, or without a word."""

from __future__ import annotations

import random
import socket
import struct
from collections.abc import Iterator
from contextlib import suppress

import grpc
from tritonclient.grpc import service_pb2_grpc

from benchmarks.fuzz.kinds.sequences import frame
from benchmarks.fuzz.messages import Message, some_id, token
from benchmarks.fuzz.registry import kind

_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_DATA, _HEADERS, _SETTINGS = 0, 1, 4
_METHOD = "/inference.GRPCInferenceService/ModelStreamInfer"


def _messages(rng: random.Random) -> Iterator[Message]:
    name = some_id(rng)
    for index in range(rng.randint(1, 3)):
        yield frame(rng).message(name, start=not index, token=token(rng))


@kind("gone", 0.3)
def stream_cancelled(rng: random.Random, url: str) -> None:
    """Frames are on their way when the stream is cancelled, before an answer or after one."""
    with grpc.insecure_channel(url, options=[("grpc.use_local_subchannel_pool", 1), ("grpc.max_receive_message_length", -1)]) as channel:
        answers = service_pb2_grpc.GRPCInferenceServiceStub(channel).ModelStreamInfer(_messages(rng), timeout=60)
        if rng.random() < 0.5:
            next(answers, None)
        answers.cancel()


@kind("gone", 0.3)
def deadline_passed(rng: random.Random, url: str) -> None:
    """A call whose client waits for a few milliseconds only."""
    with grpc.insecure_channel(url, options=[("grpc.use_local_subchannel_pool", 1)]) as channel:
        stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
        with suppress(grpc.RpcError):
            stub.ModelInfer(
                frame(rng).message(some_id(rng), start=True, end=rng.random() < 0.5, token=token(rng)), timeout=rng.choice([0.001, 0.01, 0.03])
            )


@kind("gone", 1.5)
def half_a_message(rng: random.Random, url: str) -> None:
    """HTTP/2 by hand: part of a message that announced more, then the connection is dropped or reset."""
    message = frame(rng).message(some_id(rng), start=True, token=token(rng)).SerializeToString()
    announced = rng.choice([len(message), len(message) + 1000, 2**31 - 1, 2**32 - 1])
    body = struct.pack(">BI", rng.choice([0, 0, 1]), announced) + message[: rng.randrange(len(message))]
    headers = b"".join(
        b"\x00" + _text(name) + _text(value)
        for name, value in (
            (":method", "POST"),
            (":scheme", "http"),
            (":path", _METHOD),
            (":authority", url),
            ("te", "trailers"),
            ("content-type", "application/grpc"),
        )
    )
    _send(rng, url, _PREFACE + _frame(_SETTINGS, 0, 0, b"") + _frame(_HEADERS, 4, 1, headers) + _frame(_DATA, 0, 1, body[:16_000]))


@kind("gone", 1.5)
def no_protocol(rng: random.Random, url: str) -> None:
    """Something that is no HTTP/2, or frames of it that make no sense."""
    odd = (
        _PREFACE
        + _frame(_SETTINGS, 0, 0, b"")
        + _frame(rng.randrange(256), rng.randrange(256), rng.randrange(2**31), rng.randbytes(rng.randrange(200)))
    )
    _send(rng, url, rng.choice([b"", b"GET / HTTP/1.1\r\n\r\n", _PREFACE[:10], rng.randbytes(100), odd]))


def _frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    """A frame of HTTP/2 (RFC 9113, 4.1)."""
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload


def _text(text: str) -> bytes:
    """A literal of HPACK without Huffman coding, shorter than 127 bytes (RFC 7541, 5.2)."""
    return bytes([len(text)]) + text.encode()


def _send(rng: random.Random, url: str, data: bytes) -> None:
    host, _, port = url.rpartition(":")
    with socket.create_connection((host, int(port)), timeout=5) as connection:
        if rng.random() < 0.5:  # reset instead of an orderly end
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.sendall(data)
        connection.settimeout(0.02)
        with suppress(OSError):
            connection.recv(1000)

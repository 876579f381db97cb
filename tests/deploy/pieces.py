"""A client of HTTP/2 that cuts a stream's bytes into the pieces that it is told to; gRPC's own decides that itself."""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Sequence

_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_DATA, _HEADERS, _SETTINGS = 0, 1, 4
_END_STREAM, _END_HEADERS = 1, 4
_PAUSE_S = 0.002  # so that a piece arrives by itself


def send_pieces(url: str, path: str, pieces: Sequence[bytes], *, end_with_last: bool = False) -> bytes:
    """Sends one request whose body is the pieces, each in a DATA frame of its own. Returns the body of the response.

    end_with_last   the last piece ends the stream, not an empty frame behind it
    """
    host, port = url.split(":")
    with socket.create_connection((host, int(port)), timeout=30) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        fields = {":method": "POST", ":scheme": "http", ":path": path, ":authority": url, "content-type": "application/grpc", "te": "trailers"}
        connection.sendall(_PREFACE + _frame(_SETTINGS) + _frame(_HEADERS, _END_HEADERS, 1, b"".join(map(_field, fields, fields.values()))))
        sent = list(pieces) if end_with_last else [*pieces, b""]
        for number, piece in enumerate(sent, 1):
            connection.sendall(_frame(_DATA, _END_STREAM if number == len(sent) else 0, 1, piece))
            time.sleep(_PAUSE_S)
        return _body(connection)


def _frame(kind: int, flags: int = 0, stream: int = 0, payload: bytes = b"") -> bytes:
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload


def _field(name: str, value: str) -> bytes:
    """A header, never indexed and not compressed: both are shorter than 127 bytes."""
    return b"\x10" + bytes([len(name)]) + name.encode() + bytes([len(value)]) + value.encode()


def _body(connection: socket.socket) -> bytes:
    """The DATA of the one stream until its end; what else comes is of no interest."""
    got = b""
    with connection.makefile("rb") as file:
        while True:
            size, kind, flags = struct.unpack(">IBB", b"\0" + file.read(5))
            file.read(4)
            payload = file.read(size)
            got += payload if kind == _DATA else b""
            if kind in (_DATA, _HEADERS) and flags & _END_STREAM:
                return got

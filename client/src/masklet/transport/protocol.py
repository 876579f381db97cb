"""What a tracker needs of whatever reaches a server, and TLS settings.

A transport opens streams; a video has one. A stream takes requests and gives one event per request, which carries the id of that request.
Nothing of one stream ever appears on another.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from os import PathLike
from typing import Protocol
from urllib.parse import quote

import numpy as np


@dataclass(frozen=True)
class Request:
    """One request to the model `tracker`. Tensors have the batch dimension 1 in front; BYTES tensors are object arrays of bytes.

    id  random, never used twice: the answer carries it, and so does its tensor TOKEN
    """

    video_id: int | str
    start: bool
    end: bool
    tensors: Mapping[str, np.ndarray]
    parameters: Mapping[str, object]
    id: str = field(default_factory=lambda: secrets.token_hex(16))

    @property
    def nbytes(self) -> int:
        """Size of the tensors."""
        return nbytes_of(self.tensors)


def nbytes_of(tensors: Mapping[str, np.ndarray]) -> int:
    """Size of tensors, BYTES tensors by what they hold."""
    return sum(sum(map(len, array.flat)) if array.dtype == np.object_ else array.nbytes for array in tensors.values())


@dataclass(frozen=True)
class Answer:
    """The output tensors of one request, batch dimension removed. `id` is the request's."""

    tensors: Mapping[str, np.ndarray]
    id: str = ""


@dataclass(frozen=True)
class Refusal:
    """The server's error for one request; the stream goes on. `id` is the request's; empty where the server did not get as far as to read it."""

    text: str
    id: str = ""


@dataclass(frozen=True)
class Broken:
    """The stream has ended; nothing comes any more."""

    text: str


Event = Answer | Refusal | Broken


class Stream(Protocol):
    """One stream of one video."""

    def send(self, request: Request) -> None:
        """Queues a request. Does not wait; a broken stream shows itself as an event."""

    def receive(self, timeout_s: float) -> Event | None:
        """The next event; None after `wake`. Raises TimeoutError after `timeout_s` seconds without one.

        It stays the next one until `advance`, so that an interrupt before it was dealt with (Ctrl-C, a cancelled task) loses nothing.
        """

    def poll(self) -> Event | None:
        """The next event if it is there already. It stays the next one."""

    def advance(self) -> None:
        """The next event was dealt with: goes on to the one behind it."""

    def wake(self) -> None:
        """Ends a `receive` that waits now, or else the next one that would have to. Called from another thread."""

    def close(self, *, cancel: bool = False) -> None:
        """Ends the stream and its connection. `cancel`: forget requests that are not answered yet. Later calls do nothing."""


class AsyncStream(Protocol):
    """`Stream` for asyncio."""

    def send(self, request: Request) -> None:
        """As `Stream.send`."""

    async def receive(self, timeout_s: float) -> Event | None:
        """As `Stream.receive`."""

    def poll(self) -> Event | None:
        """As `Stream.poll`."""

    def advance(self) -> None:
        """As `Stream.advance`."""

    def wake(self) -> None:
        """As `Stream.wake`; called in the event loop."""

    async def close(self, *, cancel: bool = False) -> None:
        """As `Stream.close`."""


class Transport(Protocol):
    """Opens streams to one server."""

    def open_stream(self, headers: Mapping[str, str]) -> Stream:
        """A new stream with these HTTP/2 headers. Does not wait for the connection."""


class AsyncTransport(Protocol):
    """`Transport` for asyncio."""

    def open_async_stream(self, headers: Mapping[str, str]) -> AsyncStream:
        """As `Transport.open_stream`; called from a running event loop."""


@dataclass(frozen=True)
class Tls:
    """TLS settings, as paths of PEM files. `Tls()` trusts the certificates that come with gRPC.

    root_certificates   the authorities to trust, instead of the ones that come with gRPC
    private_key, certificate_chain   the client's own key and certificate, for servers that ask for them (mutual TLS)
    """

    root_certificates: str | PathLike[str] | None = None
    private_key: str | PathLike[str] | None = None
    certificate_chain: str | PathLike[str] | None = None

    def __post_init__(self) -> None:
        if (self.private_key is None) != (self.certificate_chain is None):
            raise ValueError("Tls needs private_key and certificate_chain together, or neither.")


def stream_headers(headers: Mapping[str, str], video_id: int | str) -> dict[str, str]:
    """The headers of a video's stream. Gateways route by `x-video-id`; headers are ASCII, so an id that is not is percent-encoded."""
    return {**headers, "x-video-id": quote(str(video_id), safe="!#$&'()*+,/:;=?@[]|")}

"""The servers of a tracker, and how to reach them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import cast

from masklet.transport.protocol import AsyncStream, AsyncTransport, Event, Request, Stream, Transport, stream_headers

AnyTransport = Transport | AsyncTransport


class Servers:
    """Servers by url, each with a transport, made now: wrong urls are told at once. Raises ValueError.

    transport  one for all of them, or by url; None: what `make` makes of the url
    headers    sent with every stream
    blocking   their streams block; else they are asynchronous
    recorded   given each stream and its url, gives the stream to use; None: as they are
    """

    recorded: Callable[[AsyncStream, str], AsyncStream] | None = None

    def __init__(
        self,
        url: str | Sequence[str],
        transport: AnyTransport | Mapping[str, AnyTransport] | None,
        make: Callable[[str], AnyTransport],
        headers: Mapping[str, str],
        *,
        blocking: bool,
    ) -> None:
        self.urls = (url,) if isinstance(url, str) else tuple(dict.fromkeys(url))
        if not self.urls:
            raise ValueError("a tracker needs the url of at least one server, got none.")
        if isinstance(transport, Mapping):
            self._transports = {url: transport[url] for url in self.urls}
        else:
            self._transports = {url: make(url) if transport is None else transport for url in self.urls}
        self._headers = dict(headers)
        self._blocking = blocking

    def open_stream(self, url: str, video_id: int | str) -> AsyncStream:
        """A stream to one of them, for a video."""
        transport, headers = self._transports[url], stream_headers(self._headers, video_id)
        stream: AsyncStream
        if self._blocking:
            stream = BlockingStream(cast(Transport, transport).open_stream(headers))
        else:
            stream = cast(AsyncTransport, transport).open_async_stream(headers)
        return self.recorded(stream, url) if self.recorded else stream

    def blocking(self, url: str) -> Servers:
        """One of them alone, with streams that block and are not recorded."""
        return Servers(url, self._transports[url], lambda _: self._transports[url], self._headers, blocking=True)


class BlockingStream:
    """A stream that blocks, with the methods of an asynchronous one."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self.poll, self.advance, self.wake = stream.poll, stream.advance, stream.wake

    def send(self, request: Request) -> None:
        """See `Stream`."""
        self._stream.send(request)

    async def receive(self, timeout_s: float) -> Event | None:
        """See `Stream`."""
        return self._stream.receive(timeout_s)

    async def close(self, *, cancel: bool = False) -> None:
        """See `Stream`."""
        self._stream.close(cancel=cancel)

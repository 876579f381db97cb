"""Streams over gRPC: one channel, and so one connection, per stream."""

from __future__ import annotations

import asyncio
import os
import queue
import re
import sys
import threading
import warnings
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from typing import Any

from masklet.concurrency.event_loop import LoopCondition
from masklet.concurrency.threads import ThreadCondition, finish
from masklet.contract import TRACKER
from masklet.transport.grpc_channel import channel_options, way
from masklet.transport.inbox import Inbox
from masklet.transport.protocol import Broken, Event, Request, Tls

_used_in: int | None = None  # the process in which gRPC was used
_UNREACHED = re.compile("^UNAVAILABLE|[Ff]ailed to connect|name resolution")  # no connection, or one that a proxy made
_CLOSE_S = 2.0  # how long a graceful end of a stream may take before it is cut


class GrpcTransport:
    """Reaches a tracker, the Triton model named `model`, at gRPC port `url` ("host:port").

    proxy  "http://HOST:PORT" of an HTTP proxy to go through; None: straight there, whatever http_proxy says

    Raises ValueError for a url or proxy that is not one, OSError for unreadable PEM files.

    The one place that imports tritonclient and grpc.
    """

    def __init__(self, url: str, *, tls: Tls | None = None, model: str = TRACKER.name, proxy: str | None = None) -> None:
        import grpc
        import grpc.aio
        from tritonclient.grpc import service_pb2, service_pb2_grpc

        from masklet.transport import grpc_messages

        _check_url(url)
        _check_gevent()
        _check_fork()
        self._url = url
        self._grpc = grpc
        self._stub = service_pb2_grpc.GRPCInferenceServiceStub
        self._protobuf = service_pb2
        self._messages = grpc_messages
        self._model = model
        self._options = channel_options(proxy)
        self._proxy = proxy
        self._credentials = None if tls is None else grpc.ssl_channel_credentials(*_pem(tls))

    def open_stream(self, headers: Mapping[str, str]) -> GrpcStream:
        """See `Transport`."""
        _check_gevent()
        channel = self._channel(self._grpc)
        return GrpcStream(channel, self._stub(channel).ModelStreamInfer, _metadata(headers), self._messages, self._model, self._broken)

    def open_async_stream(self, headers: Mapping[str, str]) -> AsyncGrpcStream:
        """See `AsyncTransport`."""
        channel = self._channel(self._grpc.aio)
        return AsyncGrpcStream(channel, self._stub(channel).ModelStreamInfer, _metadata(headers), self._messages, self._model, self._broken)

    def _broken(self, error: Any) -> Broken:
        """The end of a stream as its gRPC status tells it; where no connection came about, with what there is to say of proxies."""
        text = f"{error.code().name} {error.details() or ''}".strip()
        told = way(self._url, self._proxy) if self._proxy or _UNREACHED.search(text) else ""
        return Broken(f"{text.rstrip('.')}. {told.rstrip('.')}" if told else text)

    def _channel(self, grpc: Any) -> Any:
        if self._credentials is None:
            return grpc.insecure_channel(self._url, options=self._options)
        return grpc.secure_channel(self._url, self._credentials, options=self._options)


def _check_url(url: str) -> None:
    if "://" in url:
        raise ValueError(
            f"url {url!r} must be host:port of the server's gRPC port without a scheme, such as localhost:8001. For TLS pass tls=masklet.Tls()."
        )
    if ":" not in url:
        raise ValueError(f"url {url!r} has no port. Triton's gRPC port is usually 8001: {url}:8001.")


def _check_gevent() -> None:
    """Raises RuntimeError where gevent has replaced the threads that gRPC waits in, and gRPC does not know: every call would hang for ever."""
    gevent, cython = sys.modules.get("gevent.monkey"), sys.modules["grpc._cython.cygrpc"]
    if gevent and (gevent.is_module_patched("threading") or gevent.is_module_patched("socket")) and not getattr(cython, "g_gevent_activated", True):
        raise RuntimeError(
            "gevent has patched this process and gRPC was not told, so no answer would ever arrive. Add these two lines after the patching and "
            "before the first Tracker: `import grpc.experimental.gevent` and `grpc.experimental.gevent.init_gevent()`."
        )


def _check_fork() -> None:
    """Warns where gRPC was in use in the parent of this process."""
    global _used_in
    if _used_in not in (None, os.getpid()):
        warnings.warn(
            f"this process was forked from process {_used_in}, which used gRPC. gRPC survives that only if no call was on its way at that moment; "
            "else this process may hang or abort at its first call. Start it with the method 'spawn' instead (multiprocessing.set_start_method).",
            RuntimeWarning,
            stacklevel=6,  # who made the tracker
        )
    _used_in = os.getpid()


def _pem(tls: Tls) -> tuple[bytes | None, bytes | None, bytes | None]:
    files = (tls.root_certificates, tls.private_key, tls.certificate_chain)
    return tuple(None if file is None else Path(file).read_bytes() for file in files)  # type: ignore[return-value]


def _metadata(headers: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    return tuple((name.lower(), value) for name, value in headers.items())


_ENDED = Broken("the server ended the stream")


class _Outbox:
    """Requests on their way: an iterator, which a thread of gRPC's takes them from."""

    def __init__(self) -> None:
        self._requests: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self.put = self._requests.put
        self._taker: threading.Thread | None = None

    def __iter__(self) -> _Outbox:
        return self

    def __next__(self) -> Any:
        self._taker = threading.current_thread()
        if (request := self._requests.get()) is None:
            raise StopIteration
        return request

    def close(self) -> None:
        """Ends the thread, and waits for it."""
        self._requests.put(None)
        if self._taker:
            self._taker.join(_CLOSE_S)


class _Events:
    """The thread of gRPC's in which a call learns what happened to it."""

    def __init__(self, call: Any) -> None:
        self._over, self._thread = threading.Event(), threading.current_thread()
        if not call.add_callback(self._ended):
            self._over.set()

    def _ended(self) -> None:
        self._thread = threading.current_thread()
        self._over.set()

    def close(self) -> None:
        """Waits for the thread of a call that ends."""
        if self._over.wait(_CLOSE_S) and self._thread is not threading.current_thread():
            self._thread.join(_CLOSE_S)


class GrpcStream:
    """See `Stream`. A thread moves answers into a queue that belongs to this stream alone."""

    def __init__(
        self,
        channel: Any,
        call: Callable[..., Any],
        metadata: tuple[tuple[str, str], ...],
        messages: Any,
        model: str,
        broken: Callable[[Any], Broken],
    ) -> None:
        self._channel = channel
        self._messages, self._model = messages, model
        self._outbox = _Outbox()
        self._inbox = Inbox(ThreadCondition())
        self.poll, self.advance, self.wake = self._inbox.poll, self._inbox.advance, self._inbox.wake
        self._call = call(self._outbox, metadata=metadata)
        self._events = _Events(self._call)
        # The thread must not hold the stream, or a forgotten one would never be freed.
        self._reader = threading.Thread(
            target=_read, args=(self._call, messages.to_event, self._inbox.put, broken), name="masklet-stream", daemon=True
        )
        self._reader.start()

    def send(self, request: Request) -> None:
        """See `Stream`."""
        self._outbox.put(self._messages.to_message(request, self._model))

    def receive(self, timeout_s: float) -> Event | None:
        """See `Stream`."""
        return finish(self._inbox.receive(timeout_s))

    def close(self, *, cancel: bool = False) -> None:
        """See `Stream`."""
        if cancel:
            self._call.cancel()
        # gRPC's threads hold a lock of the call now and then. If the process ended just then, they would keep it, and it would wait for it for ever.
        self._outbox.close()
        self._reader.join(_CLOSE_S)
        self._channel.close()
        self._events.close()


def _read(call: Any, to_event: Callable[[Any], Event], put: Callable[[Event], None], broken: Callable[[Any], Broken]) -> None:
    import grpc

    try:
        for message in call:
            put(to_event(message))
        put(_ENDED)
    except grpc.RpcError as error:
        put(broken(error))
    except Exception as error:  # an answer that cannot be read
        call.cancel()
        put(Broken(f"an answer cannot be read: {error!r}"))


class AsyncGrpcStream:
    """See `AsyncStream`. A task moves answers into a queue that belongs to this stream alone."""

    def __init__(
        self,
        channel: Any,
        call: Callable[..., Any],
        metadata: tuple[tuple[str, str], ...],
        messages: Any,
        model: str,
        broken: Callable[[Any], Broken],
    ) -> None:
        self._channel = channel
        self._messages, self._model = messages, model
        self._outbox: asyncio.Queue[Any] = asyncio.Queue()
        self._inbox = Inbox(LoopCondition())
        self.receive, self.poll, self.advance, self.wake = self._inbox.receive, self._inbox.poll, self._inbox.advance, self._inbox.wake
        self._call = call(_drain(self._outbox), metadata=metadata)
        self._reader = asyncio.create_task(_read_async(self._call, messages.to_event, self._inbox.put, broken))

    def send(self, request: Request) -> None:
        """See `AsyncStream`."""
        self._outbox.put_nowait(self._messages.to_message(request, self._model))

    async def close(self, *, cancel: bool = False) -> None:
        """See `AsyncStream`."""
        if cancel:
            self._call.cancel()
        self._outbox.put_nowait(None)
        await asyncio.wait({self._reader}, timeout=_CLOSE_S)
        await self._channel.close()
        await asyncio.wait({self._reader})


async def _drain(outbox: asyncio.Queue[Any]) -> AsyncIterator[Any]:
    while (message := await outbox.get()) is not None:
        yield message


async def _read_async(call: Any, to_event: Callable[[Any], Event], put: Callable[[Event], None], broken: Callable[[Any], Broken]) -> None:
    import grpc

    try:
        async for message in call:
            put(to_event(message))
        put(_ENDED)
    except grpc.RpcError as error:
        put(broken(error))
    except asyncio.CancelledError:  # how grpc.aio reports a call that this side cancelled
        put(Broken("CANCELLED by this client"))
    except Exception as error:  # an answer that cannot be read
        call.cancel()
        put(Broken(f"an answer cannot be read: {error!r}"))

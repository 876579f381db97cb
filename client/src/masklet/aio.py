"""The tracker for asyncio. Names, arguments, results and errors are those of `masklet.tracker`; what waits is awaited here. What is not said here is
said there."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import nullcontext, suppress
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any

from masklet.async_video import AsyncVideo, Videos
from masklet.concurrency.event_loop import EventLoop
from masklet.connection import keep_alive
from masklet.contract import TRACKER
from masklet.errors import MaskletError
from masklet.history.log import HISTORY_BYTES
from masklet.info import ServerInfo
from masklet.recording.recorder import Recorder
from masklet.recovery.options import Resilience
from masklet.transport.grpc_transport import GrpcTransport
from masklet.transport.protocol import AsyncTransport, Tls
from masklet.transport.servers import Servers


class AsyncTracker:
    """A masklet server, for asyncio. See `Tracker`."""

    def __init__(
        self,
        url: str | Sequence[str],
        *,
        tls: Tls | None = None,
        headers: Mapping[str, str] | None = None,
        timeout_s: float = 30,
        model: str = TRACKER.name,
        proxy: str | None = None,
        keep_alive_s: float = keep_alive.FOR_S,
        transport: AsyncTransport | Mapping[str, AsyncTransport] | None = None,
        record: str | Path | None = None,
    ) -> None:
        servers = Servers(url, transport, partial(GrpcTransport, tls=tls, model=model, proxy=proxy), headers or {}, blocking=False)
        self._recorder = None if record is None else Recorder.of(servers, record)
        self._videos = Videos(servers, timeout_s, keep_alive_s, EventLoop)

    def open(
        self,
        video_id: int | str | None = None,
        state: bytes | None = None,
        *,
        resilient: bool | Resilience = False,
        history_s: float | None = None,
        history_bytes: int = HISTORY_BYTES,
    ) -> Opening:
        """A new video: `async with tracker.open() as video`, or `video = await tracker.open()`. See `Tracker.open`."""
        connect = self._videos.connector(video_id, resilient, history_s, history_bytes)
        return Opening(lambda: self._videos.open(connect, state))

    async def info(self) -> ServerInfo:
        """See `Tracker.info`."""
        return await self._videos.info()

    async def close(self) -> None:
        """See `Tracker.close`."""
        try:
            await self._videos.close()
        finally:
            if self._recorder:
                await asyncio.to_thread(self._recorder.close)

    async def __aenter__(self) -> AsyncTracker:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        with suppress(MaskletError) if error else nullcontext():  # the first error is the one to see
            await self.close()


class Opening:
    """A video that is being opened: awaitable, and a context manager that also closes it."""

    def __init__(self, start: Callable[[], Any]) -> None:
        self._start = start

    def __await__(self) -> Generator[Any, None, AsyncVideo]:
        return self._start().__await__()  # type: ignore[no-any-return]

    async def __aenter__(self) -> AsyncVideo:
        self._video: AsyncVideo = await self
        return self._video

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        await self._video.__aexit__(kind, error, traceback)

"""The asyncio twin of `masklet.tracker`: the same names, arguments, results and errors; what waits is awaited.

What is not said here is said there.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Callable, Generator, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack, nullcontext, suppress
from functools import partial
from types import TracebackType
from typing import Any

from numpy.typing import ArrayLike

from masklet.aio_line import AsyncLine, AsyncPlainLine
from masklet.contract import TRACKER
from masklet.errors import MaskletError, UnknownObject
from masklet.grpc_transport import GrpcTransport
from masklet.home import Home
from masklet.inputs import Frame
from masklet.pipeline import AsyncResults, as_async, check_in_flight
from masklet.replicas import Replicas
from masklet.resilience.aio_line import AsyncResilientLine
from masklet.resilience.keeper import Keeper
from masklet.resilience.options import Resilience
from masklet.resilience.report import Interruption
from masklet.results import TrackedFrame
from masklet.session import Session
from masklet.ticket import Ticket
from masklet.transport import AsyncStream, AsyncTransport, Tls


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
        transport: AsyncTransport | Mapping[str, AsyncTransport] | None = None,
    ) -> None:
        self._replicas: Replicas[AsyncTransport] = Replicas(url, transport, partial(GrpcTransport, tls=tls, model=model), headers or {})
        self._timeout_s = timeout_s
        self._videos: set[AsyncVideo] = set()

    def open(self, video_id: int | str | None = None, state: bytes | None = None, *, resilient: bool | Resilience = False) -> Opening:
        """A new video: `async with tracker.open() as video`, or `video = await tracker.open()`. See `Tracker.open`."""
        make = self._line_maker(video_id, resilient)  # what is wrong with the arguments is told here
        return Opening(lambda: self._open(make(), state))

    async def _open(self, line: AsyncLine, state: bytes | None) -> AsyncVideo:
        video = AsyncVideo(line, self._videos.discard)
        self._videos.add(video)
        if state is not None:
            await video._restore(state)
        return video

    def _line_maker(self, video_id: int | str | None, resilient: bool | Resilience) -> Callable[[], AsyncLine]:
        settings = Resilience() if resilient is True else resilient
        if settings:
            keeper = Keeper(self._replicas.urls, video_id, self._timeout_s, settings)
            return lambda: AsyncResilientLine(keeper, self._stream)
        url = self._replicas.urls[0]
        session = Session(url, video_id, self._timeout_s)
        return lambda: AsyncPlainLine(session, lambda: self._stream(url, session.video_id))

    def _stream(self, url: str, video_id: int | str) -> AsyncStream:
        return self._replicas.transport(url).open_async_stream(self._replicas.headers(video_id))

    async def close(self) -> None:
        """See `Tracker.close`."""
        async with AsyncExitStack() as stack:
            for video in self._videos:
                stack.push_async_callback(video.close)

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


class AsyncVideo:
    """One live video, for asyncio. See `Video`. Several tasks may use it; requests go out in the order of the calls.

    It belongs to the event loop that it was opened in: in another its calls raise RuntimeError.
    """

    def __init__(self, line: AsyncLine, forget: Callable[[AsyncVideo], None]) -> None:
        self._line = line
        self._home = Home(asyncio.get_running_loop())
        self._forget = forget
        self._closed = False

    @property
    def video_id(self) -> int | str:
        """See `Video.video_id`."""
        return self._line.video_id

    @property
    def interruptions(self) -> list[Interruption]:
        """See `Video.interruptions`."""
        return list(self._line.interruptions)

    def prompt(
        self,
        object_id: int,
        *,
        points: ArrayLike | None = None,
        labels: ArrayLike | None = None,
        box: ArrayLike | None = None,
        mask: ArrayLike | None = None,
        append: bool = False,
        clear: bool = False,
    ) -> None:
        """See `Video.prompt`. Not awaited: it sends nothing itself."""
        self._home.check_process()
        self._line.prompt(object_id, points=points, labels=labels, box=box, mask=mask, append=append, clear=clear)

    async def remove(self, object_id: int) -> None:
        """See `Video.remove`."""
        self._home.check()
        dropped = self._line.drop(object_id)
        with suppress(UnknownObject) if dropped else nullcontext():
            await self._wait(self._line.remove(object_id))

    async def track(
        self,
        frame: Frame,
        *,
        logits: bool = False,
        snapshot: bool = False,
        refine: bool = False,
        track: bool = True,
        frame_index: int | None = None,
        reverse: bool = False,
    ) -> TrackedFrame:
        """See `Video.track`."""
        options = {"logits": logits, "snapshot": snapshot, "refine": refine, "track": track, "frame_index": frame_index, "reverse": reverse}
        return await self._wait(self._send_frame(frame, **options))

    def track_many(self, frames: Iterable[Frame] | AsyncIterable[Frame], in_flight: int = 4) -> AsyncIterator[TrackedFrame]:
        """See `Video.track_many`. A task of its own takes the frames, which goes on where a wait for a result is cancelled or times out.

        `frames` may be an asynchronous iterable, as of a camera; a plain one must not block. When the loop is left early the task is cancelled.
        """
        check_in_flight(in_flight)
        return AsyncResults(self, aiter(frames) if isinstance(frames, AsyncIterable) else as_async(frames), in_flight)

    async def snapshot(self) -> bytes:
        """See `Video.snapshot`."""
        self._home.check()
        state = (await self._wait(self._line.snapshot())).snapshot
        assert state is not None
        return state

    async def close(self) -> None:
        """See `Video.close`."""
        if self._closed or self._home.is_another_process:
            return
        self._home.check()
        self._closed = True
        try:
            await self._line.close()
        finally:
            self._forget(self)

    async def __aenter__(self) -> AsyncVideo:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        with suppress(MaskletError) if error else nullcontext():  # the first error is the one to see
            await self.close()

    async def _restore(self, state: bytes) -> None:
        try:
            await self._wait(self._line.restore(state))
        except BaseException:
            with suppress(MaskletError):  # the first error is the one to see
                await self.close()
            raise

    def _send_frame(self, frame: Frame, **options: Any) -> Ticket:
        self._home.check()
        return self._line.frame(frame, **options)

    async def _wait(self, ticket: Ticket) -> TrackedFrame:
        await self._line.settle(ticket)
        return ticket.result()

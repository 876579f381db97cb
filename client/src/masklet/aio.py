"""The asyncio twin of `masklet.tracker`: the same names, arguments, results and errors; what waits is awaited.

What is not said here is said there.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Callable, Generator, Iterable, Mapping
from contextlib import AsyncExitStack, nullcontext, suppress
from types import TracebackType
from typing import Any

from numpy.typing import ArrayLike

from masklet.contract import TRACKER
from masklet.errors import MaskletError, UnknownObject
from masklet.grpc_transport import GrpcTransport
from masklet.inputs import Frame
from masklet.pipeline import AsyncResults, as_async
from masklet.results import TrackedFrame
from masklet.session import Made, Session, Ticket
from masklet.tracker import UNSENT, stream_headers
from masklet.transport import AsyncStream, AsyncTransport, Broken, Event, Tls


class AsyncTracker:
    """A masklet server, for asyncio. See `Tracker`."""

    def __init__(
        self,
        url: str,
        *,
        tls: Tls | None = None,
        headers: Mapping[str, str] | None = None,
        timeout_s: float = 30,
        model: str = TRACKER.name,
        transport: AsyncTransport | None = None,
    ) -> None:
        self._url = url
        self._transport = transport or GrpcTransport(url, tls=tls, model=model)
        self._headers = dict(headers or {})
        self._timeout_s = timeout_s
        self._videos: set[AsyncVideo] = set()

    def open(self, video_id: int | str | None = None, state: bytes | None = None) -> Opening:
        """A new video: `async with tracker.open() as video`, or `video = await tracker.open()`. See `Tracker.open`."""
        session = Session(self._url, video_id, self._timeout_s)
        return Opening(lambda: self._open(session, state))

    async def _open(self, session: Session, state: bytes | None) -> AsyncVideo:
        headers = stream_headers(self._headers, session.video_id)
        video = AsyncVideo(session, lambda: self._transport.open_async_stream(headers), self._videos.discard)
        self._videos.add(video)
        if state is not None:
            await video._restore(state)
        return video

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
    """One live video, for asyncio. See `Video`. Several tasks may use it; requests go out in the order of the calls."""

    def __init__(self, session: Session, open_stream: Callable[[], AsyncStream], forget: Callable[[AsyncVideo], None]) -> None:
        self._session = session
        self._open_stream = open_stream
        self._forget = forget
        self._stream = open_stream()
        self._waiting = asyncio.Lock()
        self._closed = False

    @property
    def video_id(self) -> int | str:
        """See `Video.video_id`."""
        return self._session.video_id

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
        self._session.prompt(object_id, points=points, labels=labels, box=box, mask=mask, append=append, clear=clear)

    async def remove(self, object_id: int) -> None:
        """See `Video.remove`."""
        dropped = self._session.drop(object_id)
        with suppress(UnknownObject) if dropped else nullcontext():
            await self._wait(self._send(self._session.remove(object_id)))

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
        """See `Video.track_many`. `frames` may be an asynchronous iterable, as of a camera; a plain one must not block."""
        if in_flight < 1:
            raise ValueError(f"in_flight must be at least 1, got {in_flight}.")
        return AsyncResults(self, aiter(frames) if isinstance(frames, AsyncIterable) else as_async(frames), in_flight)

    async def snapshot(self) -> bytes:
        """See `Video.snapshot`."""
        state = (await self._wait(self._send(self._session.snapshot()))).snapshot
        assert state is not None
        return state

    async def close(self) -> None:
        """See `Video.close`."""
        if self._closed:
            return
        self._closed = True
        try:
            failure = None if self._session.lost else await self._end()
            if self._session.lost and self._session.must_end:  # lost by now: over a new stream, since late answers may come on the old one
                await self._stream.close(cancel=True)
                self._stream = self._open_stream()
                failure = await self._end() and failure
            if failure:
                raise failure
        finally:
            self._session.close()
            await self._stream.close()
            self._forget(self)

    async def __aenter__(self) -> AsyncVideo:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        with suppress(MaskletError) if error else nullcontext():  # the first error is the one to see
            await self.close()

    async def _restore(self, state: bytes) -> None:
        try:
            await self._wait(self._send(self._session.restore(state)))
        except BaseException:
            with suppress(MaskletError):  # the first error is the one to see
                await self.close()
            raise

    async def _end(self) -> Exception | None:
        """See `Video._end`."""
        if not self._session.must_end:
            return None
        ticket = self._send(self._session.end())
        await self._settle(ticket)
        return ticket.unheard

    def _send(self, made: Made) -> Ticket:
        ticket, request = made
        try:
            self._stream.send(request)
        except BaseException:  # such as a message that is too large: from here on answers would be taken for those of other requests
            self._session.resolve(UNSENT)
            raise
        return ticket

    def _send_frame(self, frame: Frame, **options: Any) -> Ticket:
        return self._send(self._session.frame(frame, **options))

    async def _wait(self, ticket: Ticket) -> TrackedFrame:
        await self._settle(ticket)
        return ticket.result()

    async def _settle(self, ticket: Ticket) -> None:
        """Waits until the ticket has its outcome."""
        async with self._waiting:  # one task waits; on the way it resolves the tickets of the others
            while ticket.outcome is None:
                try:
                    await self._take(await self._stream.receive(self._session.patience()))
                except TimeoutError:
                    self._session.expire()
                    await self._stream.close(cancel=True)

    async def _settled(self, ticket: Ticket) -> bool:
        """Whether the ticket has its outcome, without waiting."""
        async with self._waiting:
            while ticket.outcome is None and (event := self._stream.poll()):
                await self._take(event)
        return ticket.outcome is not None

    async def _take(self, event: Event) -> None:
        self._session.resolve(event)
        if isinstance(event, Broken):
            await self._stream.close(cancel=True)

"""One live video, and all of a tracker, written once: for asyncio as they stand here, and for threads behind `masklet.video`.

What is not said of a call here is said there.
"""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable
from contextlib import AsyncExitStack, nullcontext, suppress
from types import TracebackType
from typing import Any

from numpy.typing import ArrayLike

from masklet.concurrency.protocol import Concurrency
from masklet.connection import keep_alive
from masklet.connection.connection import Connection, SessionConnection
from masklet.connection.following import FollowedFrames
from masklet.connection.frame_call import FrameCalls
from masklet.connection.in_flight import FramesInFlight
from masklet.connection.interruption import Interruption
from masklet.connection.pending import PendingResult
from masklet.connection.plain import PlainConnection
from masklet.connection.session import Session
from masklet.errors import BadRequest, MaskletError, UnknownObject
from masklet.history.connection import HistoryConnection
from masklet.history.journeys import Journeys
from masklet.history.log import Log
from masklet.history.rewind import AsyncRewind
from masklet.info import ServerInfo, ask
from masklet.pixels import FrameLike
from masklet.recovery.attempt import fresh_id
from masklet.recovery.connection import ResilientConnection
from masklet.recovery.options import Resilience
from masklet.recovery.session import ResilientSession
from masklet.results import TrackedFrame
from masklet.transport.servers import Servers
from masklet.wire import MaskForm, Overlap


class Videos:
    """Opens the videos of one tracker, and closes those that are still open.

    timeout_s     of an answer
    keep_alive_s  how long silent videos are kept alive
    concurrency   makes that of a video
    """

    def __init__(self, servers: Servers, timeout_s: float, keep_alive_s: float, concurrency: Callable[[], Concurrency]) -> None:
        self._servers = servers
        self._timeout_s = timeout_s
        self._keep_alive_s = keep_alive_s
        self._concurrency = concurrency
        self._open: set[AsyncVideo] = set()

    def connector(
        self, video_id: int | str | None, resilient: bool | Resilience, history_s: float | None, history_bytes: int
    ) -> Callable[[Concurrency], Connection]:
        """What will connect a new video. Wrong arguments are told now."""
        connect = self._connector(video_id, resilient)
        if history_s is None:
            return connect
        log = Log(history_s, history_bytes)

        def branch() -> SessionConnection:
            return self._connector(None if video_id is None else fresh_id(video_id), resilient)(self._concurrency())

        return lambda concurrency: HistoryConnection(lambda: connect(self._concurrency()), branch, log, concurrency)

    def _connector(self, video_id: int | str | None, resilient: bool | Resilience) -> Callable[[Concurrency], SessionConnection]:
        settings = Resilience() if resilient is True else resilient
        if settings:
            resilient_session = ResilientSession(self._servers.urls, video_id, self._timeout_s, settings)
            return lambda concurrency: ResilientConnection(resilient_session, self._servers.open_stream, concurrency)
        url = self._servers.urls[0]
        session = Session(url, video_id, self._timeout_s)
        return lambda concurrency: PlainConnection(session, lambda: self._servers.open_stream(url, session.video_id), concurrency)

    async def open(self, connect: Callable[[Concurrency], Connection], state: bytes | None) -> AsyncVideo:
        """A new video; with a state, once the server has taken it."""
        concurrency = self._concurrency()
        video = AsyncVideo(connect(concurrency), concurrency, self._open.discard, self._keep_alive_s)
        self._open.add(video)
        if state is not None:
            await video._restore(state)
        return video

    async def info(self) -> ServerInfo:
        """See `Tracker.info`."""
        return await ask(self._servers, self._timeout_s)

    async def close(self) -> None:
        """Closes them all, whatever error one of them has."""
        async with AsyncExitStack() as stack:
            for video in self._open:
                stack.push_async_callback(video.close)


class AsyncVideo:
    """One live video, for asyncio. See `Video`. Several tasks may use it; requests go out in the order of the calls.

    It belongs to the event loop that it was opened in: in another its calls raise RuntimeError.
    """

    def __init__(self, connection: Connection, concurrency: Concurrency, forget: Callable[[AsyncVideo], None], keep_alive_s: float) -> None:
        self._connection = connection
        self._calls = FrameCalls(connection)
        self._concurrency = concurrency
        self._forget = forget
        self._keep_alive_s = keep_alive_s
        self._closed = False
        if keep_alive_s > 0:
            concurrency.repeat(self._keep_alive, keep_alive.LOOK_S)

    @property
    def video_id(self) -> int | str:
        """See `Video.video_id`."""
        return self._connection.video_id

    @property
    def interruptions(self) -> list[Interruption]:
        """See `Video.interruptions`."""
        return list(self._connection.interruptions)

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
        self._concurrency.check_process()
        self._connection.prompt(object_id, points=points, labels=labels, box=box, mask=mask, append=append, clear=clear)

    async def remove(self, object_id: int) -> None:
        """See `Video.remove`."""
        self._concurrency.check()
        dropped = self._connection.drop(object_id)
        with suppress(UnknownObject) if dropped else nullcontext():  # the server need not know what was only prompted
            await self._wait(self._connection.remove(object_id))

    async def track(
        self,
        frame: FrameLike,
        *,
        masks: MaskForm | None = None,
        bgr: bool = False,
        tag: Any = None,
        logits: bool = False,
        snapshot: bool = False,
        refine: bool = False,
        track: bool = True,
        frame_index: int | None = None,
        reverse: bool = False,
        overlap: Overlap = "allowed",
    ) -> TrackedFrame:
        """See `Video.track`."""
        self._concurrency.check()
        options: dict[str, Any] = {
            "logits": logits,
            "snapshot": snapshot,
            "refine": refine,
            "track": track,
            "frame_index": frame_index,
            "reverse": reverse,
            "overlap": overlap,
        }
        while (call := self._calls.send(frame, bgr=bgr, tag=tag, masks=masks, **options)) is None:
            await self._calls.unblock()
        return await self._calls.finish(call)

    def track_many(
        self,
        frames: Iterable[FrameLike] | AsyncIterable[FrameLike],
        in_flight: int = 4,
        *,
        masks: MaskForm | None = None,
        overlap: Overlap = "allowed",
        bgr: bool = False,
        skip_damaged: bool = True,
    ) -> AsyncIterator[TrackedFrame]:
        """See `Video.track_many`. A task of its own takes the frames, which goes on where a wait for a result is cancelled or times out.

        `frames` may be an asynchronous iterable, as of a camera; a plain one must not block. When the loop is left early the task is cancelled.
        """
        self._concurrency.check_process()
        options = {"masks": masks, "bgr": bgr, "overlap": overlap}
        return FramesInFlight(self._connection, self._calls, self._concurrency, frames, in_flight, options, skip_damaged)

    def follow(
        self,
        source: Iterable[FrameLike] | AsyncIterable[FrameLike],
        *,
        deadline_s: float | None = None,
        max_age_s: float | None = None,
        masks: MaskForm | None = None,
        overlap: Overlap = "allowed",
        bgr: bool = False,
    ) -> AsyncIterator[TrackedFrame]:
        """See `Video.follow`. Frames of live sources are taken in a thread, so they may block."""
        self._concurrency.check_process()
        options = {"masks": masks, "bgr": bgr, "overlap": overlap}
        return FollowedFrames(self._connection, self._calls, self._concurrency, source, options, deadline_s, max_age_s)

    def rewind(self, frame_index: int) -> AsyncRewind:
        """See `Video.rewind`: `async with video.rewind(120) as past`, and in it `past.prompt(...)`; then `await past.wait()`."""
        journeys = self._journeys()
        return AsyncRewind(self._concurrency.check, lambda: journeys.begin(frame_index), journeys.start)

    async def undo(self) -> AsyncRewind:
        """See `Video.undo`."""
        self._concurrency.check()
        return AsyncRewind.of(self._concurrency.check, self._journeys().undo())

    def _journeys(self) -> Journeys:
        if isinstance(self._connection, HistoryConnection):
            return self._connection.journeys
        raise BadRequest("this video keeps no frames, so nothing can be prompted behind time. Open it with tracker.open(history_s=10).")

    async def snapshot(self) -> bytes:
        """See `Video.snapshot`."""
        self._concurrency.check()
        state = (await self._wait(self._connection.snapshot())).snapshot
        assert state is not None
        return state

    async def close(self) -> None:
        """See `Video.close`."""
        if self._closed or self._concurrency.is_another_process:
            return
        self._concurrency.check()
        self._closed = True
        try:
            await self._connection.close()
        finally:
            self._connection.closed = True
            self._connection.wake()  # who waits for a frame of a camera that is silent
            self._forget(self)

    async def __aenter__(self) -> AsyncVideo:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        with suppress(MaskletError) if error else nullcontext():  # the first error is the one to see
            await self.close()

    async def _keep_alive(self) -> bool:
        if not self._closed:
            await self._connection.keep_alive(self._keep_alive_s)
        return not self._closed

    async def _restore(self, state: bytes) -> None:
        try:
            await self._wait(self._connection.restore(state))
        except BaseException:
            with suppress(MaskletError):  # the first error is the one to see
                await self.close()
            raise

    async def _wait(self, pending: PendingResult) -> TrackedFrame:
        await self._connection.settle(pending)
        return pending.result()

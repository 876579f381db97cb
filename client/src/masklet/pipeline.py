"""Several frames of one video on their way at a time. The two classes are one, for threads and for asyncio."""

from __future__ import annotations

import asyncio
import weakref
from collections import deque
from collections.abc import AsyncIterator, Iterable, Iterator
from typing import TYPE_CHECKING

from masklet.errors import RequestError
from masklet.inputs import Frame
from masklet.line import never
from masklet.pulling import AsyncPuller, Puller
from masklet.results import TrackedFrame
from masklet.ticket import Ticket, failed

if TYPE_CHECKING:
    from masklet.aio import AsyncVideo
    from masklet.tracker import Video

_MOST = 64


def check_in_flight(in_flight: int) -> None:
    """Raises ValueError for a number of frames in flight that cannot be."""
    if not 1 <= in_flight <= _MOST:
        raise ValueError(
            f"in_flight must be at least 1 and at most {_MOST}, got {in_flight}. The server holds every frame that is on its way; a few keep it busy."
        )


class _Sending:
    """What both have in common: frames that were taken become tickets, in order."""

    def __init__(self, video: Video | AsyncVideo, in_flight: int) -> None:
        self._send = video._send_frame
        self._in_flight = in_flight
        self._tickets: deque[Ticket] = deque()
        self._more = True  # `frames` may have some

    @property
    def _wants(self) -> bool:
        """Whether a frame is to be taken: while the oldest result is waited for, and not too many are on their way."""
        return self._more and len(self._tickets) < self._in_flight

    def _send_taken(self, puller: Puller | AsyncPuller) -> None:
        """Sends the frame that was taken, if there is one. Errors come in its place, behind the results of the frames before."""
        if not puller.ready:
            return
        try:
            frame = puller.take()
        except StopIteration:
            self._more = False
            return
        except BaseException as error:
            self._tickets.append(failed(error))
            self._more = False
            return
        try:
            self._tickets.append(self._send(frame))
        except Exception as error:
            self._tickets.append(failed(error))
            self._more = isinstance(error, RequestError)


class Results(_Sending, Iterator[TrackedFrame]):
    """The iterator of `Video.track_many`."""

    def __init__(self, video: Video, frames: Iterator[Frame], in_flight: int) -> None:
        super().__init__(video, in_flight)
        self._video = video
        self._puller = Puller(frames, video._line.wake)
        weakref.finalize(self, self._puller.stop).atexit = False

    def __next__(self) -> TrackedFrame:
        while True:
            self._video._home.check()
            self._send_taken(self._puller)
            oldest = self._tickets[0] if self._tickets else None
            if oldest and self._video._line.settled(oldest):
                self._tickets.popleft()  # not before: a wait that is interrupted loses no result
                return oldest.result()
            if self._wants:
                self._puller.ask()
            elif oldest is None:
                raise StopIteration
            if oldest is None:
                self._puller.wait()
            else:
                self._video._line.settle(oldest, unless=self._has_frame if self._wants else never)

    def _has_frame(self) -> bool:
        return self._puller.ready


class AsyncResults(_Sending, AsyncIterator[TrackedFrame]):
    """The iterator of `AsyncVideo.track_many`."""

    def __init__(self, video: AsyncVideo, frames: AsyncIterator[Frame], in_flight: int) -> None:
        super().__init__(video, in_flight)
        self._video = video
        self._puller = AsyncPuller(frames)
        weakref.finalize(self, self._puller.stop).atexit = False

    async def __anext__(self) -> TrackedFrame:
        while True:
            self._video._home.check()
            self._send_taken(self._puller)
            oldest = self._tickets[0] if self._tickets else None
            if oldest and await self._video._line.settled(oldest):
                self._tickets.popleft()
                return oldest.result()
            if self._wants:
                self._puller.ask()
            elif oldest is None:
                raise StopAsyncIteration
            if oldest is None:
                await self._puller.wait()
            else:
                await self._settle(oldest)

    async def _settle(self, oldest: Ticket) -> None:
        """Waits for the oldest result or for the next frame, whichever comes first."""
        if not self._wants:
            await self._video._line.settle(oldest)
            return
        waits = [asyncio.ensure_future(wait) for wait in (self._video._line.settle(oldest), self._puller.wait())]
        try:
            done, _ = await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            for wait in done:
                wait.result()
        finally:
            for wait in waits:
                wait.cancel()


async def as_async(frames: Iterable[Frame]) -> AsyncIterator[Frame]:
    """The frames as an asynchronous iterator."""
    for frame in frames:
        yield frame
        await asyncio.sleep(0)  # lets answers arrive

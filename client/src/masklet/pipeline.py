"""Several frames of one video on their way at a time. The two classes are one, with and without await."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Iterable, Iterator
from typing import TYPE_CHECKING

from masklet.errors import RequestError
from masklet.inputs import Frame
from masklet.results import TrackedFrame
from masklet.session import Ticket, failed

if TYPE_CHECKING:
    from masklet.aio import AsyncVideo
    from masklet.tracker import Video


class Results(Iterator[TrackedFrame]):
    """The iterator of `Video.track_many`."""

    def __init__(self, video: Video, frames: Iterator[Frame], in_flight: int) -> None:
        self._video = video
        self._frames: Iterator[Frame] | None = frames
        self._in_flight = in_flight
        self._tickets: deque[Ticket] = deque()

    def __next__(self) -> TrackedFrame:
        self._fill()
        if not self._tickets:
            raise StopIteration
        return self._video._wait(self._tickets.popleft())

    def _fill(self) -> None:
        """Sends a frame, and more while the oldest one has no answer: a slow server is kept busy, a slow camera does not hold up results."""
        while self._frames is not None and len(self._tickets) < self._in_flight:
            try:
                frame = next(self._frames)
                self._tickets.append(self._video._send_frame(frame))
            except StopIteration:
                self._frames = None
            except Exception as error:  # in its place, behind the results of the frames before
                self._tickets.append(failed(error))
                self._frames = self._frames if isinstance(error, RequestError) else None
            if self._tickets and self._video._settled(self._tickets[0]):
                return


class AsyncResults(AsyncIterator[TrackedFrame]):
    """The iterator of `AsyncVideo.track_many`."""

    def __init__(self, video: AsyncVideo, frames: AsyncIterator[Frame], in_flight: int) -> None:
        self._video = video
        self._frames: AsyncIterator[Frame] | None = frames
        self._in_flight = in_flight
        self._tickets: deque[Ticket] = deque()

    async def __anext__(self) -> TrackedFrame:
        await self._fill()
        if not self._tickets:
            raise StopAsyncIteration
        return await self._video._wait(self._tickets.popleft())

    async def _fill(self) -> None:
        """See `Results._fill`."""
        while self._frames is not None and len(self._tickets) < self._in_flight:
            try:
                frame = await anext(self._frames)
                self._tickets.append(self._video._send_frame(frame))
            except StopAsyncIteration:
                self._frames = None
            except Exception as error:  # in its place, behind the results of the frames before
                self._tickets.append(failed(error))
                self._frames = self._frames if isinstance(error, RequestError) else None
            if self._tickets and await self._video._settled(self._tickets[0]):
                return


async def as_async(frames: Iterable[Frame]) -> AsyncIterator[Frame]:
    """The frames as an asynchronous iterator."""
    for frame in frames:
        yield frame
        await asyncio.sleep(0)  # lets answers arrive

"""Waiting in an event loop of asyncio, whose other tasks go on meanwhile."""

from __future__ import annotations

import asyncio
import threading
import weakref
from collections.abc import AsyncIterable, AsyncIterator, Callable, Coroutine, Iterable, Iterator
from contextlib import suppress
from typing import Any, TypeVar

from masklet.concurrency.frames import TaskPuller
from masklet.concurrency.process import Process
from masklet.concurrency.protocol import Puller

T = TypeVar("T")


class LoopCondition:
    """See `Condition`. For the tasks of one event loop, of which one runs at a time: entering it does nothing."""

    def __init__(self) -> None:
        self._waiters: set[asyncio.Future[None]] = set()

    def __enter__(self) -> None:
        pass

    def __exit__(self, *error: object) -> None:
        pass

    def notify_all(self) -> None:
        """See `Condition`."""
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(None)

    async def wait_for(self, predicate: Callable[[], object], timeout_s: float | None = None) -> bool:
        """See `Condition`."""
        loop = asyncio.get_running_loop()
        until = None if timeout_s is None else loop.time() + timeout_s
        while not predicate():
            left = None if until is None else until - loop.time()
            if left is not None and left <= 0:
                return False
            waiter: asyncio.Future[None] = loop.create_future()
            self._waiters.add(waiter)
            try:
                await asyncio.wait({waiter}, timeout=left)
            finally:
                self._waiters.discard(waiter)
        return True


class EventLoop(Process):
    """See `Concurrency`. A video belongs to the event loop that it was opened in."""

    def __init__(self) -> None:
        super().__init__()
        self._loop = asyncio.get_running_loop()
        self._tasks: set[asyncio.Task[None]] = set()

    def check(self) -> None:
        """See `Concurrency`."""
        self.check_process()
        if asyncio.get_running_loop() is not self._loop:
            raise RuntimeError(
                "this video was opened in another event loop, such as that of an earlier asyncio.run(), and its connection belongs to that one. "
                "Make a new AsyncTracker and open a new video in this loop; a snapshot takes the video along."
            )

    def condition(self) -> LoopCondition:
        """See `Concurrency`."""
        return LoopCondition()

    def puller(self, frames: Iterable[T] | AsyncIterable[T], arrived: Callable[[], None]) -> Puller[T]:
        """See `Concurrency`."""
        if isinstance(frames, AsyncIterable):
            return TaskPuller(aiter(frames), arrived)
        return TaskPuller(_of_blocking(iter(frames)) if getattr(frames, "live", False) else _as_async(frames), arrived)

    def call_later(self, after_s: float, call: Callable[[], None]) -> None:
        """See `Concurrency`."""
        self._loop.call_later(after_s, call)

    def repeat(self, work: Callable[[], Coroutine[Any, Any, bool]], every_s: float) -> None:
        """See `Concurrency`. By a timer of the loop: no task is left where the loop ends."""
        weakly = weakref.WeakMethod(work)

        async def round_() -> None:
            if (call := weakly()) is not None and await call():
                self._loop.call_later(every_s, self.spawn, round_)

        self._loop.call_later(every_s, self.spawn, round_)

    def spawn(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """See `Concurrency`."""
        task = asyncio.create_task(work())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def join(self) -> None:
        """See `Concurrency`."""
        await asyncio.gather(*self._tasks)


async def _of_blocking(frames: Iterator[T]) -> AsyncIterator[T]:
    """Takes each frame in a thread. Not one of a pool, whose end would have to wait for a camera that is silent."""
    loop, end = asyncio.get_running_loop(), object()
    while True:
        taken: asyncio.Future[Any] = loop.create_future()
        threading.Thread(target=_take, args=(frames, end, loop, taken), name="masklet-frames", daemon=True).start()
        frame = await taken
        if frame is end:
            return
        yield frame


def _take(frames: Iterator[Any], end: object, loop: asyncio.AbstractEventLoop, into: asyncio.Future[Any]) -> None:
    def give() -> None:
        if into.cancelled():
            return
        if isinstance(got, BaseException):
            into.set_exception(got)
        else:
            into.set_result(got)

    got: Any
    try:
        got = next(frames, end)
    except BaseException as error:
        got = error
    with suppress(RuntimeError):  # the loop is closed
        loop.call_soon_threadsafe(give)


async def _as_async(frames: Iterable[T]) -> AsyncIterator[T]:
    for frame in frames:
        yield frame
        await asyncio.sleep(0)  # lets answers arrive

"""Taking frames from where they come from: see `Puller`."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import threading
import weakref
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any, Generic, TypeVar

T = TypeVar("T")
Taken = tuple[Any, BaseException | None]  # a frame, or the error in its place

_END = object()


class ThreadPuller(Generic[T]):
    """Frames of an iterator that may block, such as a camera's: a thread of its own takes them, and calls `arrived` for each.

    The thread begins with the first frame asked for, and ends with the iterator or with `stop`. It must not keep alive who wanted the frames, or
    nobody would call `stop` for somebody who forgot them: so `arrived` is held weakly.
    """

    def __init__(self, frames: Iterator[T], arrived: Callable[[], None]) -> None:
        self._frames = frames
        self._arrived = weakref.WeakMethod(arrived)
        self._changed = threading.Condition()
        self._asked = self._stopped = False
        self._got: Taken | None = None
        self._thread: threading.Thread | None = None

    @property
    def ready(self) -> bool:
        """See `Puller`."""
        return self._got is not None

    @property
    def asked(self) -> bool:
        """See `Puller`."""
        return self._asked or self._got is not None

    def ask(self) -> None:
        """See `Puller`."""
        with self._changed:
            if self._asked or self._got:
                return
            self._asked = True
            self._changed.notify_all()
            if self._thread is None:
                context = contextvars.copy_context()  # `frames` sees what it would see in the caller's thread
                self._thread = threading.Thread(target=context.run, args=(self._run,), name="masklet-frames", daemon=True)
                self._thread.start()

    def take(self) -> T:
        """See `Puller`."""
        with self._changed:
            assert self._got is not None
            got, self._got = self._got, None
        frame: T = _given(*got)
        return frame

    def stop(self) -> None:
        """See `Puller`. The thread ends when the iterator gives it the frame that it waits for, if it does; that one is dropped."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()

    def _run(self) -> None:
        over = False
        while not over:
            with self._changed:
                self._changed.wait_for(lambda: self._asked or self._stopped)
                if self._stopped:
                    break
            got: Taken
            try:
                got = (next(self._frames, _END), None)
            except BaseException as error:
                got = (None, error)
            over = got[1] is not None or got[0] is _END
            with self._changed:
                self._got, self._asked = got, False
                self._changed.notify_all()
            del got
            if arrived := self._arrived():
                arrived()
            arrived = None
        self._frames = iter(())  # a generator is closed now, here where it ran


class TaskPuller(Generic[T]):
    """Frames of an asynchronous iterator: a task takes them, which goes on when nobody waits for it any more."""

    def __init__(self, frames: AsyncIterator[T], arrived: Callable[[], None]) -> None:
        self._frames = frames
        self._arrived = weakref.WeakMethod(arrived)
        self._task: asyncio.Task[Taken] | None = None

    @property
    def ready(self) -> bool:
        """See `Puller`."""
        return self._task is not None and self._task.done()

    @property
    def asked(self) -> bool:
        """See `Puller`."""
        return self._task is not None

    def ask(self) -> None:
        """See `Puller`."""
        if self._task is None:
            self._task = asyncio.create_task(_next(self._frames))
            self._task.add_done_callback(self._tell)

    def take(self) -> T:
        """See `Puller`."""
        assert self._task is not None
        task, self._task = self._task, None
        frame: T = _given(None, asyncio.CancelledError()) if task.cancelled() else _given(*task.result())
        return frame

    def stop(self) -> None:
        """See `Puller`. Cancels the taking of a frame."""
        if self._task and not self._task.done():
            with contextlib.suppress(RuntimeError):  # the loop is closed, and has cancelled its tasks
                self._task.get_loop().call_soon_threadsafe(self._task.cancel)

    def _tell(self, _task: object) -> None:
        if arrived := self._arrived():
            arrived()


async def _next(frames: AsyncIterator[Any]) -> Taken:
    try:
        return await anext(frames), None
    except StopAsyncIteration:
        return _END, None
    except Exception as error:
        return None, error


def _given(frame: Any, error: BaseException | None) -> Any:
    if error is not None:
        raise error
    if frame is _END:
        raise StopIteration
    return frame

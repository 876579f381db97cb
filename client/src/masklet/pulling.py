"""Taking frames from where they come from, one at a time and only when asked, while somebody waits for something else."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import threading
import weakref
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

from masklet.inputs import Frame

_END = object()


class Puller:
    """Frames of an iterator that may block, such as a camera's: a thread of its own takes them. `arrived` is called there for each.

    The thread begins with the first frame asked for, and ends with the iterator or with `stop`. It must not keep alive who wanted the frames, or
    nobody would call `stop` for somebody who forgot them: so `arrived` is held weakly.
    """

    def __init__(self, frames: Iterator[Frame], arrived: Callable[[], None]) -> None:
        self._frames = frames
        self._arrived = weakref.WeakMethod(arrived)
        self._changed = threading.Condition()
        self._asked = self._stopped = False
        self._got: tuple[Any, BaseException | None] | None = None
        self._thread: threading.Thread | None = None

    @property
    def ready(self) -> bool:
        """Whether `take` has something to give."""
        return self._got is not None

    def ask(self) -> None:
        """Asks for a frame; once, until it was taken."""
        with self._changed:
            if self._asked or self._got:
                return
            self._asked = True
            self._changed.notify_all()
            if self._thread is None:
                context = contextvars.copy_context()  # `frames` sees what it would see in the caller's thread
                self._thread = threading.Thread(target=context.run, args=(self._run,), name="masklet-frames", daemon=True)
                self._thread.start()

    def wait(self) -> None:
        """Until there is something to take."""
        with self._changed:
            self._changed.wait_for(lambda: self._got is not None)

    def take(self) -> Frame:
        """The frame. Raises what the iterator raised, StopIteration at its end."""
        with self._changed:
            assert self._got is not None
            (frame, error), self._got = self._got, None
        return _given(frame, error)

    def stop(self) -> None:
        """No more frames are wanted. The thread ends when the iterator gives it the one that it waits for, if it does; that one is dropped."""
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
            got: tuple[Any, BaseException | None]
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


class AsyncPuller:
    """Frames of an asynchronous iterator: a task takes them, which goes on when nobody waits for it any more."""

    def __init__(self, frames: AsyncIterator[Frame]) -> None:
        self._frames = frames
        self._task: asyncio.Task[Any] | None = None

    @property
    def ready(self) -> bool:
        """See `Puller`."""
        return self._task is not None and self._task.done()

    def ask(self) -> None:
        """See `Puller`."""
        if self._task is None:
            self._task = asyncio.create_task(_next(self._frames))

    async def wait(self) -> None:
        """See `Puller`. Cancelling it does not cancel the taking."""
        assert self._task is not None
        await asyncio.wait({self._task})

    def take(self) -> Frame:
        """See `Puller`."""
        assert self._task is not None
        task, self._task = self._task, None
        return _given(None, asyncio.CancelledError()) if task.cancelled() else _given(*task.result())

    def stop(self) -> None:
        """Cancels the taking of a frame, whatever thread this is called in."""
        if self._task and not self._task.done():
            with contextlib.suppress(RuntimeError):  # the loop is closed, and has cancelled its tasks
                self._task.get_loop().call_soon_threadsafe(self._task.cancel)


async def _next(frames: AsyncIterator[Frame]) -> tuple[Any, BaseException | None]:
    try:
        return await anext(frames), None
    except StopAsyncIteration:
        return _END, None
    except Exception as error:
        return None, error


def _given(frame: Any, error: BaseException | None) -> Frame:
    if error is not None:
        raise error
    if frame is _END:
        raise StopIteration
    return frame  # type: ignore[no-any-return]

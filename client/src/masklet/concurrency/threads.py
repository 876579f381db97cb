"""Waiting by blocking the calling thread."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterable, Callable, Coroutine, Iterable
from typing import Any, TypeVar, cast

from masklet.concurrency.frames import ThreadPuller
from masklet.concurrency.process import Process
from masklet.concurrency.protocol import Puller
from masklet.concurrency.rounds import rounds

T = TypeVar("T")


def finish(work: Coroutine[Any, Any, T]) -> T:
    """Runs a coroutine over `Threads` to its end, in this thread."""
    try:
        work.send(None)
    except StopIteration as end:
        result: T = end.value
        return result
    work.close()
    raise AssertionError(f"{work} gave way, and no event loop is there to go on with it")


class ThreadCondition:
    """See `Condition`; also a lock for whoever enters it."""

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self.notify_all = self._condition.notify_all  # only where it was entered

    def __enter__(self) -> None:
        self._condition.__enter__()

    def __exit__(self, *error: Any) -> None:
        self._condition.__exit__(*error)

    async def wait_for(self, predicate: Callable[[], object], timeout_s: float | None = None) -> bool:
        """See `Condition`."""
        with self._condition:
            return bool(self._condition.wait_for(predicate, timeout_s))


class Threads(Process):
    """See `Concurrency`. A video may be used in any thread of its process."""

    def __init__(self) -> None:
        super().__init__()
        self._spawned: list[threading.Thread] = []

    def check(self) -> None:
        """See `Concurrency`."""
        self.check_process()

    def condition(self) -> ThreadCondition:
        """See `Concurrency`."""
        return ThreadCondition()

    def puller(self, frames: Iterable[T] | AsyncIterable[T], arrived: Callable[[], None]) -> Puller[T]:
        """See `Concurrency`."""
        return ThreadPuller(iter(cast(Iterable[T], frames)), arrived)

    def call_later(self, after_s: float, call: Callable[[], None]) -> None:
        """See `Concurrency`."""
        timer = threading.Timer(after_s, call)
        timer.daemon = True
        timer.start()

    def repeat(self, work: Callable[[], Coroutine[Any, Any, bool]], every_s: float) -> None:
        """See `Concurrency`."""
        rounds(every_s).add(work)

    def spawn(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """See `Concurrency`."""
        thread = threading.Thread(target=lambda: finish(work()), name="masklet-leaving", daemon=True)
        self._spawned = [*(earlier for earlier in self._spawned if earlier.is_alive()), thread]
        thread.start()

    async def join(self) -> None:
        """See `Concurrency`."""
        for thread in self._spawned:
            thread.join()

"""The asyncio client behind a blocking interface, so that every test of a video holds for both."""

from __future__ import annotations

import asyncio
import inspect
from typing import Any

from masklet import AsyncTracker, AsyncVideo
from masklet.aio import Opening
from masklet.history.rewind import AsyncRewind


class Blocking:
    """An object of the asyncio client whose methods wait: coroutines are run, asynchronous iterators become plain ones."""

    def __init__(self, loop: asyncio.AbstractEventLoop, target: Any) -> None:
        self._loop = loop
        self._target = target

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._target, name)
        return (lambda *args, **kwargs: self._finished(value(*args, **kwargs))) if callable(value) else value

    def __enter__(self) -> Any:
        return self._finished(self._target.__aenter__())

    def __exit__(self, *error: Any) -> None:
        self._finished(self._target.__aexit__(*error))

    def __iter__(self) -> Blocking:
        return self

    def __next__(self) -> Any:
        try:
            return self._finished(self._target.__anext__())
        except StopAsyncIteration:
            raise StopIteration from None

    def _finished(self, value: Any) -> Any:
        if inspect.iscoroutine(value) or isinstance(value, Opening):
            value = self._loop.run_until_complete(_awaited(value))
        return Blocking(self._loop, value) if isinstance(value, AsyncTracker | AsyncVideo | AsyncRewind) or hasattr(value, "__anext__") else value


async def _awaited(value: Any) -> Any:
    return await value

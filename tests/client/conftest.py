"""Both clients behind one blocking interface, so that every test of a video holds for the asyncio twin too."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from fakes.plays import Outcome, shown
from fakes.toy_replicas import Replica, replicas
from masklet import AsyncTracker, MockTransport, Resilience, Tracker
from masklet.aio import AsyncVideo, Opening


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
        return Blocking(self._loop, value) if isinstance(value, AsyncTracker | AsyncVideo) or hasattr(value, "__anext__") else value


async def _awaited(value: Any) -> Any:
    return await value


@pytest.fixture(params=["sync", "asyncio"])
def make_tracker(request: pytest.FixtureRequest) -> Iterator[Callable[..., Any]]:
    """Tracker, or AsyncTracker with blocking methods."""
    if request.param == "sync":
        yield Tracker
        return
    loop = asyncio.new_event_loop()

    async def made(*args: Any, **kwargs: Any) -> AsyncTracker:  # inside the loop, as users make it
        return AsyncTracker(*args, **kwargs)

    yield lambda *args, **kwargs: Blocking(loop, loop.run_until_complete(made(*args, **kwargs)))
    loop.run_until_complete(loop.shutdown_asyncgens())
    loop.close()


@pytest.fixture(autouse=True)
def short_end(monkeypatch):
    """Tests of a silent server need not wait as long as users."""
    monkeypatch.setattr("masklet.session._END_AFTER_LOSS_S", 0.05)


@pytest.fixture
def open_video(make_tracker):
    def make(server, timeout_s=0.05, **opened):
        return make_tracker("test:1", timeout_s=timeout_s, transport=server.transport).open(**opened)

    return make


@dataclass
class Pair:
    """Two servers, how they are reached (which keeps what they were asked), and a resilient video that begins on the first."""

    one: Replica
    other: Replica
    to_one: MockTransport
    to_other: MockTransport
    video: Any


@pytest.fixture
def pair(make_tracker):
    def make(settings: Resilience | None = None, **opened: Any) -> Pair:
        servers, transports = replicas(2)
        tracker = make_tracker(list(servers), timeout_s=0.2, transport=transports)
        hasty = Resilience(snapshot_every=4, watchdog_s=0.05, give_up_s=0.6)
        return Pair(*servers.values(), *transports.values(), tracker.open(resilient=settings or hasty, **opened))

    return make


@pytest.fixture
def undisturbed():
    """The results for these frames on a server without faults, with one prompt on the first."""

    def play(sent: list[bytes]) -> list[Outcome]:
        _, transports = replicas(1)
        with Tracker("a:1", transport=transports) as tracker, tracker.open() as video:
            video.prompt(1, points=[(1, 2)])
            return [shown(video.track(frame)) for frame in sent]

    return play

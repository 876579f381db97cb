"""What the client needs of threads or of an event loop."""

from __future__ import annotations

from collections.abc import AsyncIterable, Callable, Coroutine, Iterable
from typing import Any, Protocol, TypeVar

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


class Condition(Protocol):
    """Something that changes, and those who wait for it. It is entered where it is changed."""

    def __enter__(self) -> object:
        """Nobody else changes it meanwhile."""

    def __exit__(self, *error: object) -> None:
        """Others may."""

    def notify_all(self) -> None:
        """Lets all who wait look at their predicate."""

    async def wait_for(self, predicate: Callable[[], object], timeout_s: float | None = None) -> bool:
        """Until the predicate holds, which is looked at after each `notify_all`. False where `timeout_s` seconds passed first."""


class Puller(Protocol[T_co]):
    """Takes frames from where they come from, one at a time and only when asked, while somebody waits for something else."""

    @property
    def ready(self) -> bool:
        """Whether `take` has something to give."""

    @property
    def asked(self) -> bool:
        """Whether a frame was asked for that was not taken yet."""

    def ask(self) -> None:
        """Asks for a frame; once, until it was taken."""

    def take(self) -> T_co:
        """The frame. Raises what the iterator raised, StopIteration at its end."""

    def stop(self) -> None:
        """No more frames are wanted. Called in any thread."""


class Concurrency(Protocol):
    """Of one video, made where the video is used: connections outlive neither a fork nor their event loop."""

    @property
    def is_another_process(self) -> bool:
        """Whether this is a forked child of the process that it was made in."""

    def check(self) -> None:
        """Raises RuntimeError where the video cannot be used."""

    def check_process(self) -> None:
        """Raises RuntimeError in a forked child."""

    def condition(self) -> Condition:
        """A new condition."""

    def puller(self, frames: Iterable[T] | AsyncIterable[T], arrived: Callable[[], None]) -> Puller[T]:
        """Takes these frames. `arrived`, a method that is held weakly, is called for each that has come."""

    def call_later(self, after_s: float, call: Callable[[], None]) -> None:
        """Calls something after so many seconds, in whatever thread."""

    def repeat(self, work: Callable[[], Coroutine[Any, Any, bool]], every_s: float) -> None:
        """Does work every so many seconds, as long as it says so. It is a method, which is held weakly, and never waits."""

    def spawn(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Runs work beside whatever goes on here."""

    async def join(self) -> None:
        """Until all that was spawned is done."""

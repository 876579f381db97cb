"""Which server has a video, which one is to have it, and what to send to them."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass

from masklet.connection import operations
from masklet.connection.interruption import Cause
from masklet.connection.pending import PendingResult
from masklet.errors import MaskletError, ServerBusy
from masklet.inputs import checked_id, random_id
from masklet.recovery.attempt import Attempt, fresh_id
from masklet.recovery.options import Resilience
from masklet.recovery.recovery import Recovery
from masklet.recovery.replay_log import Entry
from masklet.transport.protocol import Request

_GRACE = 0.05  # of the patience: for answers that are here already, when the caller itself was away for longer than an answer may take


@dataclass(frozen=True)
class Open:
    """A stream for an attempt."""

    attempt: Attempt


@dataclass(frozen=True)
class Send:
    """A request over the stream of an attempt."""

    attempt: Attempt
    request: Request


@dataclass(frozen=True)
class Close:
    """The stream of an attempt. `cancel`: what is not answered yet does not matter any more."""

    attempt: Attempt
    cancel: bool


Command = Open | Send | Close


class Attempts:
    """The attempts of one video. What has to be done for them goes to `commands`.

    current    its server has the video
    candidate  its server is asked to take it
    recovery   why there is or will be a candidate
    """

    def __init__(self, urls: Sequence[str], video_id: int | str | None, timeout_s: float, settings: Resilience) -> None:
        settings.patience_s(timeout_s, 0)  # wrong settings are told now
        self.commands: deque[Command] = deque()
        self.current: Attempt | None = None
        self.candidate: Attempt | None = None
        self.recovery: Recovery | None = None
        self._urls = tuple(urls)
        self._first_id = self._next_id = random_id() if video_id is None else checked_id(video_id)
        self._timeout_s = timeout_s
        self._settings = settings

    @property
    def video_id(self) -> int | str:
        """The id of the video where it is, or will be next."""
        return self.current.video_id if self.current else self._next_id

    @property
    def live(self) -> list[Attempt]:
        """Those from which events may come."""
        return [attempt for attempt in (self.current, self.candidate) if attempt]

    @property
    def may_move(self) -> bool:
        """Whether it is time to leave a server that drains: then a snapshot is wanted."""
        recovery = self.recovery
        if recovery is None or not recovery.moving or recovery.switched or recovery.hopeless or self.candidate:
            return False
        return time.monotonic() >= recovery.due

    def may_ask(self, fresh: bool) -> bool:
        """Whether it is time to ask the next server. `fresh`: a snapshot has just come."""
        recovery = self.recovery
        if recovery is None or recovery.switched or self.candidate:
            return False
        return (fresh or self.current is None) and time.monotonic() >= recovery.due

    def begin(self) -> None:
        """Looks for the first server."""
        self.recovery = Recovery(self._urls, "broken", None, self._urls[0], 0.0)

    def move(self, attempt: Attempt, reason: MaskletError) -> None:
        """Looks for another server, while the current one goes on."""
        self.recovery = Recovery(self._ring(attempt.url)[:-1] or self._urls, "draining", reason, attempt.url, 0.0)

    def send(self, entry: Entry) -> None:
        """Sends an entry to those who have the video, or will have it."""
        for attempt in self.live:
            attempt.waiting.append(entry)
            self.flush(attempt)

    def drop(self, entry: Entry) -> None:
        """Does not send an entry."""
        for attempt in self.live:
            with suppress(ValueError):
                attempt.waiting.remove(entry)

    def flush(self, attempt: Attempt) -> None:
        """Sends what can be sent now."""
        if attempt in self.live:
            self.commands.extend(Send(attempt, request) for request in attempt.requests())

    def open(self, recovery: Recovery, entries: Iterable[Entry]) -> None:
        """Asks the next server to take the video that these entries make."""
        patience_s = self._settings.patience_s(self._timeout_s, recovery.silences)
        self.candidate = Attempt(recovery.next_url(), self._next_id, patience_s, entries)
        self._next_id = fresh_id(self._first_id)
        self.commands.append(Open(self.candidate))
        self.flush(self.candidate)

    def accept(self, attempt: Attempt, entry: Entry) -> None:
        """A server has answered for the first time, to this entry: it has the video now."""
        attempt.accepted = True
        old, self.current, self.candidate = self.current, attempt, None
        if old:
            self.end(old)
            self.commands.append(Close(old, cancel=False))
        assert self.recovery is not None
        if self.recovery.reason is None:  # it was the first server
            self.recovery = None
        else:
            self.recovery.switch(attempt.url, sum(waiting.replayed for waiting in (entry, *attempt.waiting)))

    def lose(self, attempt: Attempt, cause: Cause, error: MaskletError, waited_s: float) -> None:
        """A server is lost, or did not take the video."""
        leaves = cause == "silent" or (cause == "failed" and isinstance(error, ServerBusy))
        if leaves:  # it may only be slow, then the video must not stay there until it is forgotten; and one that is refused has a place in Triton
            self.end(attempt)
        self.commands.append(Close(attempt, cancel=not leaves))
        had_it, recovery = attempt is self.current, self.recovery
        if had_it:
            self.current = None
        else:
            self.candidate = None
        if recovery is None:
            self.recovery = Recovery(self._ring(attempt.url), cause, error, attempt.url, waited_s)
        elif had_it and recovery.moving and not recovery.switched:
            recovery.worse(self._ring(attempt.url), cause, error, waited_s)
        else:
            recovery.failed(cause, error)

    def end(self, attempt: Attempt) -> PendingResult:
        """Frees the video on a server."""
        attempt.waiting.clear()
        pending, request = attempt.session.end()
        attempt.on_way[pending] = Entry.own(operations.end())
        self.commands.append(Send(attempt, request))
        return pending

    def close(self) -> None:
        """Closes all streams, once everything was answered that was sent."""
        self.commands.extend(Close(attempt, cancel=False) for attempt in self.live)
        self.current = self.candidate = None

    def waits(self, give_up: float | None) -> tuple[Attempt | None, float]:
        """Whose event to wait for, None for nobody's, and for how many seconds. `give_up`: when to stop looking, `time.monotonic()`."""
        attempt, candidate, now = self.current, self.candidate, time.monotonic()
        if candidate and (attempt is None or len(candidate.waiting) > self._settings.snapshot_every):  # it falls behind: memory has a bound
            attempt = candidate
        limits = [max(_GRACE * attempt.patience_s, attempt.session.patience()) for attempt in self.live if attempt.on_way]
        if give_up is not None:
            limits.append(give_up - now)
        if not self.live and self.recovery:
            limits.append(self.recovery.due - now)
        return attempt, max(0.0, min(limits, default=self._timeout_s))

    def _ring(self, url: str) -> tuple[str, ...]:
        """All servers, this one last."""
        place = self._urls.index(url) + 1
        return self._urls[place:] + self._urls[:place]

"""A video that has no server, or is about to leave it: since when, why, and when to try the next one."""

from __future__ import annotations

import time
from collections.abc import Sequence

from masklet.connection.interruption import Cause, Interruption
from masklet.errors import MaskletError, ServerBusy
from masklet.recovery.options import delay_s, spread_s

_REFUSALS = 3  # in a row, by which all servers are taken for full: one address may be a gateway's, and each attempt another choice of its


class Recovery:
    """The search for another server, from its reason to the first new result there.

    urls      in the order in which they are tried, over and over
    reason    None: the video has not begun yet, and its first server is looked for
    moving    the old server still serves: there is time
    last      why the last attempt failed
    silences  servers in a row that did not answer in time
    hints     in how many seconds the servers that were asked last, and are full, expect to have room
    refused   what servers have against taking the video again, by url: they are not asked any more
    """

    def __init__(self, urls: Sequence[str], cause: Cause, reason: MaskletError | None, from_url: str, waited_s: float) -> None:
        self.urls = urls
        self.cause = cause
        self.reason = reason
        self.from_url = from_url
        self.waited_s = waited_s
        self.moving = cause == "draining"
        self.at, self.since = time.time(), time.monotonic()
        self.last = reason
        self.due = self.since
        self.hints: list[float] = []
        self.refused: dict[str, MaskletError] = {}
        self._turn = 0
        self.attempts = self.silences = self.frames_replayed = 0
        self.switched: float | None = None
        self.to_url = from_url

    def next_url(self) -> str:
        """The server to ask now; not to be called where there is none."""
        self.attempts += 1
        while (url := self.urls[self._turn % len(self.urls)]) in self.refused:
            self._turn += 1
        self._turn += 1
        return url

    @property
    def hopeless(self) -> bool:
        """Whether every server has refused."""
        return self.refused.keys() >= set(self.urls)

    def failed(self, cause: Cause, error: MaskletError) -> None:
        """An attempt failed: the next server is asked at once, unless all were; then it takes a while, where all are full as long as they said."""
        self.last = error
        hint = error.retry_after_s if isinstance(error, ServerBusy) else None
        self.hints = [] if hint is None else [*self.hints, hint][-max(_REFUSALS, len(self.urls)) :]
        self.silences += cause == "silent"
        self.switched = None
        rounds, rest = divmod(self._turn, len(self.urls))
        all_full = len(self.hints) >= max(_REFUSALS, len(self.urls))
        self.due = time.monotonic() + (0 if rest else spread_s(min(self.hints)) if all_full else delay_s(rounds))

    def worse(self, urls: Sequence[str], cause: Cause, reason: MaskletError, waited_s: float) -> None:
        """The server that drained is lost before the video had left it."""
        self.refused.clear()  # the newest snapshot is another one
        self.urls, self.cause, self.reason, self.last, self.waited_s, self.moving = urls, cause, reason, reason, waited_s, False
        self.at, self.since = time.time(), time.monotonic()
        self.due = self.since

    def switch(self, url: str, frames_replayed: int) -> None:
        """A server has taken the video."""
        self.to_url = url
        self.frames_replayed += frames_replayed
        self.switched = time.monotonic()

    def report(self, asked: float) -> Interruption:
        """What it was, now that the first new result is there; `asked`: when that was asked for (`time.monotonic()`)."""
        begin = max(asked, self.switched or self.since) if self.moving else self.since
        return Interruption(
            cause=self.cause,
            reason=str(self.reason),
            at=self.at,
            waited_s=self.waited_s,
            seconds=time.monotonic() - begin,
            frames_replayed=self.frames_replayed,
            attempts=self.attempts,
            from_url=self.from_url,
            to_url=self.to_url,
        )

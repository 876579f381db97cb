"""Which server has a video, which one is to have it, and what to send to them."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass

from masklet import orders
from masklet.errors import MaskletError
from masklet.inputs import checked_id
from masklet.resilience.journal import Entry
from masklet.resilience.link import Link, fresh_id, random_id
from masklet.resilience.options import Resilience
from masklet.resilience.report import Cause
from masklet.resilience.trouble import Trouble
from masklet.ticket import Ticket
from masklet.transport import Request

_GRACE = 0.05  # of the patience: for answers that are here already, when the caller itself was away for longer than an answer may take


@dataclass(frozen=True)
class Open:
    """A stream for a link."""

    link: Link


@dataclass(frozen=True)
class Send:
    """A request over the stream of a link."""

    link: Link
    request: Request


@dataclass(frozen=True)
class Close:
    """The stream of a link. `cancel`: what is not answered yet does not matter any more."""

    link: Link
    cancel: bool


class Route:
    """The links of one video. What has to be done for them goes to `commands`.

    current    its server has the video
    candidate  its server is asked to take it
    trouble    why there is or will be a candidate
    """

    def __init__(self, urls: Sequence[str], video_id: int | str | None, timeout_s: float, settings: Resilience) -> None:
        settings.patience_s(timeout_s, 0)  # wrong settings are told now
        self.commands: deque[Open | Send | Close] = deque()
        self.current: Link | None = None
        self.candidate: Link | None = None
        self.trouble: Trouble | None = None
        self._urls = tuple(urls)
        self._first_id = self._next_id = random_id() if video_id is None else checked_id(video_id)
        self._timeout_s = timeout_s
        self._settings = settings

    @property
    def video_id(self) -> int | str:
        """The id of the video where it is, or will be next."""
        return self.current.video_id if self.current else self._next_id

    @property
    def links(self) -> list[Link]:
        """Those from which events may come."""
        return [link for link in (self.current, self.candidate) if link]

    def begin(self) -> None:
        """Looks for the first server."""
        self.trouble = Trouble(self._urls, "broken", None, self._urls[0], 0.0)

    def move(self, link: Link, reason: MaskletError) -> None:
        """Looks for another server, while the current one goes on."""
        self.trouble = Trouble(self._ring(link.url)[:-1] or self._urls, "draining", reason, link.url, 0.0)

    def send(self, entry: Entry) -> None:
        """Sends an entry to those who have the video, or will have it."""
        for link in self.links:
            link.waiting.append(entry)
            self.flush(link)

    def drop(self, entry: Entry) -> None:
        """Does not send an entry."""
        for link in self.links:
            with suppress(ValueError):
                link.waiting.remove(entry)

    def flush(self, link: Link) -> None:
        """Sends what can be sent now."""
        if link in self.links:
            self.commands.extend(Send(link, request) for request in link.requests())

    def open(self, trouble: Trouble, entries: Iterable[Entry]) -> None:
        """Asks the next server to take the video that these entries make."""
        patience_s = self._settings.patience_s(self._timeout_s, trouble.silences)
        self.candidate = Link(trouble.next_url(), self._next_id, patience_s, entries)
        self._next_id = fresh_id(self._first_id)
        self.commands.append(Open(self.candidate))
        self.flush(self.candidate)

    def accept(self, link: Link, entry: Entry) -> None:
        """A server has answered for the first time, to this entry: it has the video now."""
        link.accepted = True
        old, self.current, self.candidate = self.current, link, None
        if old:
            self.end(old)
            self.commands.append(Close(old, cancel=False))
        assert self.trouble is not None
        if self.trouble.reason is None:  # it was the first server
            self.trouble = None
        else:
            self.trouble.switch(link.url, sum(waiting.replayed for waiting in (entry, *link.waiting)))

    def lose(self, link: Link, cause: Cause, error: MaskletError, waited_s: float) -> None:
        """A server is lost, or did not take the video."""
        if cause == "silent":  # it may only be slow: then the video must not stay there until it is forgotten
            self.end(link)
        self.commands.append(Close(link, cancel=cause != "silent"))
        had_it, trouble = link is self.current, self.trouble
        if had_it:
            self.current = None
        else:
            self.candidate = None
        if trouble is None:
            self.trouble = Trouble(self._ring(link.url), cause, error, link.url, waited_s)
        elif had_it and trouble.moving and not trouble.switched:
            trouble.worse(self._ring(link.url), cause, error, waited_s)
        else:
            trouble.failed(cause, error)

    def end(self, link: Link) -> Ticket:
        """Frees the video on a server."""
        link.waiting.clear()
        ticket, request = link.session.end()
        link.on_way[ticket] = Entry.own(orders.end())
        self.commands.append(Send(link, request))
        return ticket

    def close(self) -> None:
        """Closes all streams, once everything was answered that was sent."""
        self.commands.extend(Close(link, cancel=False) for link in self.links)
        self.current = self.candidate = None

    def waits(self, give_up: float | None) -> tuple[Link | None, float]:
        """Whose event to wait for, None for nobody's, and for how many seconds. `give_up`: when to stop looking, `time.monotonic()`."""
        link, candidate, now = self.current, self.candidate, time.monotonic()
        if candidate and (link is None or len(candidate.waiting) > self._settings.snapshot_every):  # it falls behind: memory has a bound
            link = candidate
        limits = [max(_GRACE * link.patience_s, link.session.patience()) for link in self.links if link.on_way]
        if give_up is not None:
            limits.append(give_up - now)
        if not self.links and self.trouble:
            limits.append(self.trouble.due - now)
        return link, max(0.0, min(limits, default=self._timeout_s))

    def _ring(self, url: str) -> tuple[str, ...]:
        """All servers, this one last."""
        place = self._urls.index(url) + 1
        return self._urls[place:] + self._urls[:place]

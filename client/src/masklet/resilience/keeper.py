"""A resilient video without input or output: what to send to whom, and what an event means.

The caller's orders go into the journal and to the current link. A link that is lost leaves a trouble behind: links to other servers are tried,
one at a time, until one has taken the newest snapshot; then the journal's entries are sent to it and it is the current one. A server that drains
stays the current one until then. `line` and `aio_line` carry out the commands, and tell what comes.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Sequence
from dataclasses import replace

from masklet import orders
from masklet.errors import BadRequest, MaskletError, RequestError, ServerBusy, ServerFault, ServerUnavailable, VideoLost, from_masklet
from masklet.orders import Order, Orders
from masklet.resilience.journal import Entry, Journal
from masklet.resilience.link import Link
from masklet.resilience.options import Resilience
from masklet.resilience.report import Cause, Interruption
from masklet.resilience.route import Close, Open, Route, Send
from masklet.resilience.trouble import Trouble
from masklet.results import TrackedFrame
from masklet.ticket import Ticket
from masklet.transport import Broken, Event, Refusal

_LOSSES = 3  # servers that may be lost with the same request in hand, before it is taken for the reason
_CLOSED = "this video is closed. Open a new one."


class Keeper:
    """One resilient video. After every call `commands` are to be carried out, in order.

    interruptions  its record
    orders         makes what `add` takes
    """

    def __init__(self, urls: Sequence[str], video_id: int | str | None, timeout_s: float, settings: Resilience) -> None:
        self.interruptions: list[Interruption] = []
        self.orders = Orders()
        self._route = Route(urls, video_id, timeout_s, settings)
        self._journal = Journal(settings.snapshot_every)
        self._give_up_s = settings.give_up_s
        self._fresh = False  # a snapshot has just come, with which to leave a server that drains
        self._over: VideoLost | None = None
        self._ending = False

    @property
    def commands(self) -> deque[Open | Send | Close]:
        """What is to be done."""
        return self._route.commands

    @property
    def video_id(self) -> int | str:
        """See `Route`."""
        return self._route.video_id

    @property
    def links(self) -> list[Link]:
        """See `Route`."""
        return self._route.links

    def check(self) -> None:
        """Raises VideoLost if the video is over."""
        if self._over:
            raise self._over

    def add(self, order: Order) -> Ticket:
        """Takes an order; `take` or `tick` give the ticket its outcome. Raises VideoLost if the video is over."""
        self.check()
        self._sweep()
        if not self.links and not self._route.trouble:
            self._route.begin()
        entry = Entry(order, snapshot=order.is_frame and self._journal.due(soon=self._may_move()))
        ticket = entry.ticket
        assert ticket is not None
        self._journal.entries.append(entry)
        self._route.send(entry)
        self._seek()
        return ticket

    def withdraw(self, ticket: Ticket) -> None:
        """Forgets the order of a ticket, which could not be sent; its prompts stay."""
        for entry in [entry for entry in self._journal.entries if entry.ticket is ticket]:
            self._drop(entry)
            self.orders.take_back(entry.order, BadRequest(""), runs=True)

    def end(self) -> Ticket | None:
        """Frees the video. The ticket of END; None if there is no server to tell."""
        self._sweep()
        trouble, self._route.trouble = self._route.trouble, None
        if trouble and trouble.reason and trouble.switched:
            self.interruptions.append(trouble.report(time.monotonic()))
        self._ending, self._over = True, self._over or VideoLost(_CLOSED)
        tickets = {link: self._route.end(link) for link in self.links}
        return tickets.get(self._route.current) if self._route.current else None

    def close(self) -> None:
        """Nothing more will be asked or answered."""
        self._route.close()
        self._finish(VideoLost(_CLOSED))

    def waits(self) -> tuple[Link | None, float]:
        """Whose event to wait for, None for nobody's, and for how many seconds; then comes `tick`."""
        return self._route.waits(self._deadline())

    def unsent(self, link: Link) -> None:
        """A request could not be sent, or only in part."""
        link.dirty = True

    def tick(self, *, waited: bool) -> None:
        """Does what time asks for. Only a caller that has `waited` for an event can tell silence from answers that it has not received yet."""
        self._sweep()
        for link in self.links:
            if waited and link.overdue():
                link.session.expire()
                self._lose_in_hand(link, "silent")
        self._seek()

    def take(self, link: Link, event: Event) -> None:
        """An event of a link. Those of links that were given up do not count."""
        if link not in self.links or link.dirty:
            return
        ticket = link.session.resolve(event)
        entry = link.on_way.pop(ticket, None) if ticket else None
        if ticket is None or entry is None:  # the same event may come twice, where an interrupt came before it was let go: then it says nothing new
            if link.session.lost:
                self._lose_in_hand(link, "broken" if isinstance(event, Broken) else "failed")
            return
        if isinstance(ticket.outcome, TrackedFrame):
            self._answered(link, entry, ticket.outcome)
        elif isinstance(ticket.outcome, MaskletError):
            self._refused(link, entry, ticket.outcome, own=not isinstance(event, Refusal) or from_masklet(event.text))
        self._route.flush(link)

    def _answered(self, link: Link, entry: Entry, result: TrackedFrame) -> None:
        if not link.accepted and not self._ending:
            self._route.accept(link, entry)
        if entry.frame_index not in (None, result.frame_index):
            self._lose(link, "failed", ServerFault(f"{link.url} answered frame {entry.frame_index} again, but as frame {result.frame_index}."))
            return
        if "STATE" in entry.order.tensors:
            result = replace(result, snapshot=entry.order.tensors["STATE"].tobytes())
        if result.snapshot is not None and self._journal.rebase(entry, result):
            self._fresh = self._may_move()
        self._give(entry, result)
        if result.draining and not self._route.trouble and not self._ending:
            self._route.move(link, ServerBusy(f"{link.url} is draining: it will stop."))

    def _refused(self, link: Link, entry: Entry, error: MaskletError, *, own: bool) -> None:
        """What an error means. `own`: masklet's, not Triton's, which may have failed before or after the video changed."""
        if isinstance(error, VideoLost):
            self._lose(link, "forgotten", error)
        elif entry.answered and isinstance(error, RequestError):
            self._lose(link, "failed", error)
            if self._route.trouble:  # the same again would be refused again there: snapshots are large
                self._route.trouble.refused[link.url] = error
        elif entry.answered or isinstance(error, ServerFault | ServerUnavailable) or (isinstance(error, ServerBusy) and not (own and link.accepted)):
            self._lose(link, "failed", error)
            if isinstance(error, ServerFault) and (own or link.accepted):
                self._blame(entry, error)
        else:
            self._drop(entry)
            self._give(entry, self.orders.take_back(entry.order, error, runs=link.accepted))

    def _sweep(self) -> None:
        """Gives up links that cannot be believed any more."""
        for link in [link for link in self.links if link.dirty]:
            self._lose(link, "broken", VideoLost(f"a request to {link.url} could not be sent."))

    def _lose_in_hand(self, link: Link, cause: Cause) -> None:
        """A link is lost, as its session knows why, and with whatever it had in hand."""
        error = link.session.lost
        assert error is not None
        in_hand = next(iter(link.on_way.values()), None) if link.accepted else None
        self._lose(link, cause, error)
        if in_hand:
            self._blame(in_hand, error)

    def _lose(self, link: Link, cause: Cause, error: MaskletError) -> None:
        oldest = self._journal.oldest()
        self._route.lose(link, cause, error, time.monotonic() - oldest.asked if oldest else 0.0)

    def _blame(self, entry: Entry, error: MaskletError) -> None:
        """A request that servers do not survive must not be brought to all of them."""
        entry.losses += 1
        if entry.losses < _LOSSES or entry.answered:
            return
        self._drop(entry)
        what = f"{_LOSSES} servers were lost with {entry.order.waits_for} in hand, so it is not sent again; the last time: {error}"
        entry.give(ServerFault(f"{what} The video goes on without it and its prompts."))

    def _give(self, entry: Entry, outcome: TrackedFrame | MaskletError) -> None:
        """Tells the caller. The first new result ends a trouble."""
        trouble = self._route.trouble
        if not entry.answered and trouble and trouble.switched:
            self.interruptions.append(trouble.report(entry.asked))
            self._route.trouble = None
        entry.give(outcome)

    def _drop(self, entry: Entry) -> None:
        self._journal.drop(entry)
        self._route.drop(entry)

    def _may_move(self) -> bool:
        """Whether it is time to leave a server that drains: then a snapshot is wanted."""
        trouble = self._route.trouble
        if trouble is None or not trouble.moving or trouble.switched or trouble.hopeless or self._route.candidate:
            return False
        return time.monotonic() >= trouble.due

    def _seek(self) -> None:
        """Asks the next server, when it is time."""
        trouble, deadline = self._route.trouble, self._deadline()
        if trouble is None or self._ending:
            return
        if trouble.hopeless:
            if not self._route.current:  # else it goes on where it is, as long as it can
                told = "; ".join(f"{url}: {error}" for url, error in trouble.refused.items())
                self._give_up(trouble, f"every server refused to take the video again ({told}).")
        elif deadline is not None and time.monotonic() >= deadline:
            tried, urls = f"within {self._give_up_s:g} s, in {trouble.attempts} attempts", ", ".join(dict.fromkeys(trouble.urls))
            self._give_up(trouble, f"no server took the video {tried} ({urls}). The last one: {trouble.last or 'no answer yet.'}")
        elif not self._route.candidate and (not self._route.current or self._fresh) and not trouble.switched and time.monotonic() >= trouble.due:
            self._fresh = False
            state = self._journal.state
            restore = [Entry.own(orders.restoring(state))] if state else []
            self._route.open(trouble, [*restore, *self._journal.entries])

    def _deadline(self) -> float | None:
        """When somebody will have waited for a server for too long."""
        trouble, oldest = self._route.trouble, self._journal.oldest()
        return max(trouble.since, oldest.asked) + self._give_up_s if trouble and oldest and not self._route.current else None

    def _give_up(self, trouble: Trouble, why: str) -> None:
        last, journal = trouble.last, self._journal
        advice = "Its newest snapshot is `state` of this error: open a new video from it." if journal.state else "Open a new one and prompt again."
        self._over = VideoLost(f"{why} {advice}")
        self._over.state, self._over.state_index, self._over.__cause__ = journal.state, journal.frame_index, last
        if self._route.candidate:
            self._route.lose(self._route.candidate, "silent", self._over, 0.0)
        self._route.trouble = None
        self._finish(self._over)

    def _finish(self, error: VideoLost) -> None:
        for entry in self._journal.entries:
            entry.give(error)
        self._journal.entries.clear()

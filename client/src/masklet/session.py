"""One video as the client sees it, without input or output: what to send next, and what an event means.

`Video` and `AsyncVideo` add only the waiting. An event belongs to the ticket of the request whose id it carries, whatever the order in which
events come. What went through the stages of the server names the request once more: an answer in its tensor TOKEN, an error at its end. Where the two
differ, or nobody asked, a stage has handed out the answer to another request. That never becomes a result: what the video's memories hold is not
known then, so the video is lost on that server. A resilient video goes on from its snapshot elsewhere.
"""

from __future__ import annotations

import secrets
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from masklet import loss, orders, results
from masklet.errors import BadRequest, MaskletError, NotOwner, ServerFault, ServerUnavailable, UnknownObject, VideoLost, from_server, token_of
from masklet.inputs import Frame, checked_id
from masklet.orders import Order, Orders
from masklet.results import TrackedFrame
from masklet.ticket import Made, Ticket, Tickets
from masklet.transport import Answer, Broken, Event, Refusal, Request

_END_S = 5.0  # how long END may take: callers of `close` want to go on, and a server that does not hear it frees the video by itself
_END_AFTER_LOSS_S = 5.0  # how long a lost video may take to end; not worth more of anybody's time, nor less if frames are given less

_LET_GO = np.empty(0)  # in the place of pixels


class Session:
    """The state of one video on this side. Methods that ask for something raise VideoLost once the video is lost or closed.

    Several threads may use it. What is asked is held until `ready` gives the request for it.
    """

    def __init__(self, url: str, video_id: int | str | None, timeout_s: float) -> None:
        self.video_id = secrets.randbelow(2**63 - 1) + 1 if video_id is None else checked_id(video_id)
        self._url = url
        self._timeout_s = timeout_s
        self._owner = secrets.token_hex(16)
        self._orders = Orders()
        self._lock = threading.RLock()
        self._tickets = Tickets()
        self._done: tuple[Callable[[], object], Callable[[], Ticket | None]] | None = None  # the last event and its ticket, weakly
        self._started = False  # a request was answered without an error: the server holds the video
        self._may_exist = False  # a START was sent: the server may hold something
        self._foreign = False  # another client owns the video of this id
        self._lost: MaskletError | None = None
        self._closed = False
        self._waiting_since = 0.0
        self._end_by: float | None = None  # deadline of END and all before it

    @property
    def lost(self) -> MaskletError | None:
        """Why the video is lost, if it is."""
        return self._lost

    def prompt(self, object_id: int, **prompt: Any) -> None:
        """Keeps a prompt for the next frame."""
        with self._lock:
            self._check()
            self._orders.prompt(object_id, **prompt)

    def drop(self, object_id: int) -> bool:
        """Drops the kept prompts of an object. True if there were some."""
        with self._lock:
            return self._orders.drop(object_id)

    def frame(self, frame: Frame, **options: Any) -> Ticket:
        """A frame, with the prompts kept so far. Raises BadFrame and BadParameter, and then keeps the prompts."""
        with self._lock:
            self._check()
            return self._ask(self._orders.frame(frame, **options))

    def restore(self, state: bytes) -> Ticket:
        """Starts the video from a snapshot."""
        with self._lock:
            return self._ask(orders.restoring(state))

    def remove(self, object_id: int) -> Ticket:
        """Forgets an object. Raises UnknownObject if the server has no video yet."""
        with self._lock:
            self._check()
            order = orders.removal(object_id)
            if not self._may_exist:
                raise UnknownObject(f"object {object_id} was never prompted in this video.")
            return self._ask(order)

    def snapshot(self) -> Ticket:
        """Asks for a snapshot."""
        with self._lock:
            self._check()
            if not self._may_exist:
                raise BadRequest("there is nothing to take a snapshot of: no frame was sent yet.")
            return self._ask(orders.snapshot())

    @property
    def must_end(self) -> bool:
        """Whether the server may hold something that END would free."""
        # Triton ends the sequence of an id whoever asks, so never for a video of somebody else. And where no server answers nobody hears it.
        return self._may_exist and not self._foreign and not isinstance(self._lost, ServerUnavailable)

    def end(self) -> Made:
        """The request that frees the video on the server, lost or not. What was not sent yet will not be."""
        with self._lock:
            self._timeout_s = _END_AFTER_LOSS_S if self._lost else min(self._timeout_s, _END_S)
            self._tickets.fail_held(VideoLost("this video was closed before the request was sent."))
            self._end_by = time.monotonic() + self._timeout_s
            return self.issue(orders.end(), end=True)

    def ready(self) -> Iterator[Request]:
        """What can be sent now, in the order in which it was asked.

        Until the server has answered the first request, which carries START, that is this one alone: where it is refused nothing was sent in vain,
        and the next one begins the video. It costs the time of a round trip, once in a video.
        """
        while True:
            with self._lock:
                if not self._tickets.held or not (self._started or not self._tickets.pending):
                    return
                ticket, order = self._tickets.held[0]
                request = self._request(ticket, self._orders.with_returned(order), end=False)
                self._tickets.held.popleft()
            yield request

    def issue(self, order: Order, *, end: bool = False) -> Made:
        """The request for an order, to be sent at once; `end`: it also frees the video."""
        with self._lock:
            ticket = Ticket(order.waits_for, order.options, order.size, end=end)
            return ticket, self._request(ticket, order, end=end)

    def close(self) -> None:
        """No request can be made any more."""
        self._closed = True

    def patience(self) -> float:
        """Seconds that the oldest request may still take: `timeout_s` since it was sent or since the answer before it; at the end in all."""
        until = self._waiting_since + self._timeout_s if self._end_by is None else self._end_by
        return max(0.0, until - time.monotonic())

    def resolve(self, event: Event) -> Ticket | None:
        """Gives the ticket that an event belongs to its outcome, and gives that ticket.

        None where no ticket is concerned more than others: a broken stream is the outcome of all of them, and so is an answer to nothing that was
        asked; the video is lost then. To be told of the same event once more, since an interrupt came between, changes nothing.
        """
        with self._lock:
            if self._done and self._done[0]() is event:
                return self._done[1]()
            if isinstance(event, Broken):
                self._break(event.text)
                return None
            request_id = self._asked(event)
            if request_id is None:
                return None
            self._waiting_since = time.monotonic()
            ticket = self._tickets.pending[request_id]
            outcome = self._outcome(event, ticket, request_id)
            ticket.heard = True
            ticket.prompted = None
            ticket.outcome = ticket.outcome or outcome
            self._may_exist = self._may_exist and not ticket.end  # even a refused END leaves nothing to free
            self._done = weakref.ref(event), weakref.ref(ticket)
            self._tickets.pending.pop(request_id, None)
            return ticket

    def expire(self) -> None:
        """The oldest request has taken too long: the video is lost."""
        with self._lock:
            self._lose(loss.expired(self._url, self._tickets.oldest, self._timeout_s, started=self._started))

    def _ask(self, order: Order) -> Ticket:
        prompted = replace(order, tensors=dict.fromkeys(order.tensors, _LET_GO)) if order.is_frame else None
        ticket = Ticket(order.waits_for, order.options, order.size, prompted=prompted)
        if not self._started and (self._tickets.pending or self._tickets.held):  # it will be held, and the caller may use its array again
            order = replace(order, tensors={name: array.copy() for name, array in order.tensors.items()})
        self._tickets.held.append((ticket, order))
        return ticket

    def _request(self, ticket: Ticket, order: Order, *, end: bool) -> Request:
        # START goes with every request until one is on its way or accepted: a refused START has started nothing.
        start = not self._started and not self._tickets.pending and not end
        options = replace(order.options, owner=self._owner)
        request = Request(self.video_id, start, end, {**order.tensors, "PROMPTS": orders.prompts_tensor(order)}, options.parameters())
        if ticket.prompted:
            ticket.prompted = replace(ticket.prompted, items=order.items, again=order.again)
        if not self._tickets.pending:
            self._waiting_since = time.monotonic()
        self._tickets.pending[request.id] = ticket
        self._may_exist = True
        return request

    def _asked(self, event: Answer | Refusal) -> str | None:
        """The id of the request that the event belongs to; None, and the video is lost, where there is none."""
        if event.id in self._tickets.pending:
            return event.id
        if isinstance(event, Answer) or event.id:
            self._lose(loss.out_of_step(self._url, None))
        elif not self._tickets.pending:
            self._break(event.text)
        return self._tickets.oldest_id  # Triton's own refusal, from before it had read the request

    def _check(self) -> None:
        if self._closed:
            raise VideoLost("this video is closed. Open a new one.")
        if self._lost:
            first = str(self._lost)
            raise VideoLost(first if isinstance(self._lost, VideoLost) else f"this video was lost before: {first}") from self._lost

    def _outcome(self, event: Answer | Refusal, ticket: Ticket, request_id: str) -> TrackedFrame | MaskletError:
        try:
            told = results.token(event.tensors) if isinstance(event, Answer) else token_of(event.text) or request_id
            if told != request_id:
                error = loss.out_of_step(self._url, ticket)
                self._lose(error)
                return error
            if isinstance(event, Answer):
                result = results.read(event.tensors, ticket.options, ticket.size)
                self._started = True
                return result
            return self._refused(event, ticket)
        except ServerFault as unreadable:
            return unreadable

    def _refused(self, refusal: Refusal, ticket: Ticket) -> MaskletError:
        error = from_server(refusal.text)
        self._foreign |= isinstance(error, NotOwner)
        # Whatever else was refused, the video goes on, or begins with the next request.
        if isinstance(error, VideoLost):
            self._lost = self._lost or error
            self._tickets.fail_held(error)
        order, ticket.prompted = ticket.prompted, None  # once, even if an interrupt makes this happen again
        if order and orders.changed_nothing(error, refusal.text):
            error = self._orders.take_back(order, error, runs=self._started)
        return error

    def _break(self, text: str) -> None:
        self._lose(loss.broken(self._url, self._tickets.oldest, text, started=self._started))

    def _lose(self, error: MaskletError) -> None:
        self._lost = self._lost or error
        self._tickets.fail(error)

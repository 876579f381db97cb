"""One video as the client sees it, without input or output: what to send next, and what an event means.

`Video` and `AsyncVideo` add only the waiting. Requests are answered in order, so a deque of tickets is all the bookkeeping: an event
always belongs to the oldest ticket without an outcome.
"""

from __future__ import annotations

import secrets
import time
from collections import deque
from dataclasses import dataclass, replace
from typing import Any

from masklet import orders, results
from masklet.errors import (
    BadRequest,
    MaskletError,
    NotOwner,
    ServerBusy,
    ServerFault,
    ServerUnavailable,
    UnknownObject,
    VideoLost,
    from_server,
)
from masklet.inputs import Frame, checked_id
from masklet.orders import Order, Orders
from masklet.results import TrackedFrame
from masklet.transport import Answer, Broken, Event, Refusal, Request
from masklet.wire import Options

_END_AFTER_LOSS_S = 5.0  # how long a lost video may take to end; not worth more of anybody's time, nor less if frames are given less


@dataclass(eq=False)
class Ticket:
    """A request on its way. `outcome` is set once its event has come, and then never changes."""

    waits_for: str  # for people: "frame 3"
    options: Options
    size: tuple[int, int] | None
    outcome: TrackedFrame | Exception | None = None
    heard: bool = False  # the server has answered or refused it
    end: bool = False

    @property
    def unheard(self) -> Exception | None:
        """The error, if it is not the server's word on this request."""
        return self.outcome if isinstance(self.outcome, Exception) and not self.heard else None

    def result(self) -> TrackedFrame:
        """The outcome; an error is raised."""
        assert self.outcome is not None
        if isinstance(self.outcome, Exception):
            raise self.outcome
        return self.outcome


Made = tuple[Ticket, Request]


def failed(error: Exception) -> Ticket:
    """A ticket for what never became a request."""
    return Ticket("nothing", Options(), None, outcome=error)


class Session:
    """The state of one video on this side. Every method that makes a request raises VideoLost once the video is lost or closed."""

    def __init__(self, url: str, video_id: int | str | None, timeout_s: float) -> None:
        self.video_id = secrets.randbelow(2**63 - 1) + 1 if video_id is None else checked_id(video_id)
        self._url = url
        self._timeout_s = timeout_s
        self._owner = secrets.token_hex(16)
        self._orders = Orders()
        self._pending: deque[Ticket] = deque()
        self._started = False  # a request was answered without an error: the server holds the video
        self._may_exist = False  # a START was sent: the server may hold something
        self._foreign = False  # another client owns the video of this id
        self._lost: MaskletError | None = None
        self._closed = False
        self._waiting_since = 0.0

    @property
    def lost(self) -> MaskletError | None:
        """Why the video is lost, if it is."""
        return self._lost

    def prompt(self, object_id: int, **prompt: Any) -> None:
        """Keeps a prompt for the next frame."""
        self._check()
        self._orders.prompt(object_id, **prompt)

    def drop(self, object_id: int) -> bool:
        """Drops the kept prompts of an object. True if there were some."""
        return self._orders.drop(object_id)

    def frame(self, frame: Frame, **options: Any) -> Made:
        """The request for a frame, with the prompts kept so far. Raises BadFrame and BadParameter, and then keeps the prompts."""
        self._check()
        return self.issue(self._orders.frame(frame, **options))

    def restore(self, state: bytes) -> Made:
        """The request that starts the video from a snapshot."""
        return self.issue(orders.restoring(state))

    def remove(self, object_id: int) -> Made:
        """The request that forgets an object. Raises UnknownObject if the server has no video yet."""
        self._check()
        order = orders.removal(object_id)
        if not self._may_exist:
            raise UnknownObject(f"object {object_id} was never prompted in this video.")
        return self.issue(order)

    def snapshot(self) -> Made:
        """The request for a snapshot."""
        self._check()
        if not self._may_exist:
            raise BadRequest("there is nothing to take a snapshot of: no frame was sent yet.")
        return self.issue(orders.snapshot())

    @property
    def must_end(self) -> bool:
        """Whether the server may hold something that END would free."""
        # Triton ends the sequence of an id whoever asks, so never for a video of somebody else. And where no server answers nobody hears it.
        return self._may_exist and not self._foreign and not isinstance(self._lost, ServerUnavailable)

    def end(self) -> Made:
        """The request that frees the video on the server, lost or not."""
        if self._lost:
            self._timeout_s = _END_AFTER_LOSS_S
        return self.issue(orders.end(), end=True)

    def issue(self, order: Order, *, end: bool = False) -> Made:
        """The request for an order; `end`: it also frees the video."""
        # START goes with every request until one is on its way or accepted: a refused START has started nothing.
        start = not self._started and not self._pending and not end
        if not self._pending:
            self._waiting_since = time.monotonic()
        ticket = Ticket(order.waits_for, replace(order.options, owner=self._owner), order.size, end=end)
        tensors = {**order.tensors, "PROMPTS": orders.prompts_tensor(order)}
        self._pending.append(ticket)
        self._may_exist = True
        return ticket, Request(self.video_id, start, end, tensors, ticket.options.parameters())

    def close(self) -> None:
        """No request can be made any more."""
        self._closed = True

    def patience(self) -> float:
        """Seconds that the oldest request may still take: `timeout_s` since it was sent or since the answer before it."""
        return max(0.0, self._waiting_since + self._timeout_s - time.monotonic())

    def resolve(self, event: Event) -> None:
        """Gives the oldest ticket its outcome. A broken stream is the outcome of all of them, and the video is lost."""
        self._waiting_since = time.monotonic()
        if isinstance(event, Broken):
            self._lose(self._cause(event))
        elif not self._pending:
            self._lose(ServerFault(f"{self._url} answered something that was not asked. Open a new video."))
        else:
            ticket = self._pending.popleft()
            ticket.heard = True
            self._may_exist = self._may_exist and not ticket.end  # even a refused END leaves nothing to free
            ticket.outcome = self._outcome(event, ticket)

    def expire(self) -> None:
        """The oldest request has taken too long: the video is lost, since a late answer could not be told from the next."""
        waited = f"no answer for {self._pending[0].waits_for} from {self._url} within {self._timeout_s:g} s."
        if self._started:
            self._lose(VideoLost(f"{waited} Open a new video; if the server is only slow, with a larger timeout_s."))
        else:
            self._lose(
                ServerBusy(f"{waited} The server may be full, or still warming up. Retry later or on another server, or with a larger timeout_s.")
            )

    def _check(self) -> None:
        if self._closed:
            raise VideoLost("this video is closed. Open a new one.")
        if self._lost:
            first = str(self._lost)
            raise VideoLost(first if isinstance(self._lost, VideoLost) else f"this video was lost before: {first}") from self._lost

    def _outcome(self, event: Answer | Refusal, ticket: Ticket) -> TrackedFrame | MaskletError:
        try:
            if isinstance(event, Answer):
                result = results.read(event.tensors, ticket.options, ticket.size)
                self._started = True
                return result
            error = from_server(event.text)
        except ServerFault as unreadable:
            error = unreadable
        self._foreign |= isinstance(error, NotOwner)
        # Whatever else was refused, the video goes on, or begins with the next request.
        if isinstance(error, VideoLost):
            self._lost = self._lost or error
        return error

    def _cause(self, broken: Broken) -> MaskletError:
        """What a broken stream means: for a video that runs, always a loss."""
        place = f"while waiting for {self._pending[0].waits_for}" if self._pending else "between two requests"
        error = from_server(broken.text)
        if not self._started and isinstance(error, ServerUnavailable | ServerBusy):
            return type(error)(f"{self._url}: {error}")
        return VideoLost(f"the stream to {self._url} broke {place}: {broken.text}. Open a new video and prompt again, or restore a snapshot.")

    def _lose(self, error: MaskletError) -> None:
        self._lost = self._lost or error
        while self._pending:
            self._pending.popleft().outcome = error

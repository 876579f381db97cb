"""A video on one server, without input or output: what to send next, and what an event means.

An event belongs to the pending result of the request whose id it carries, whatever the order in which events come. What went through the stages of
the server names the request once more: an answer in its tensor TOKEN, an error at its end. Where the two differ, or nobody asked, a stage has handed
out the answer to another request. That never becomes a result: what the video's memories hold is not known then, so the video is lost on that server.
A resilient video goes on from its snapshot elsewhere.
"""

from __future__ import annotations

import secrets
import time
import weakref
from collections.abc import Callable, Iterator
from dataclasses import replace

from masklet import prompts, results
from masklet.connection import losses, operations
from masklet.connection.asking import Asking
from masklet.connection.operations import Operation
from masklet.connection.pending import Outstanding, PendingResult
from masklet.errors import MaskletError, NotOwner, ServerBusy, ServerFault, ServerUnavailable, VideoLost, from_server, token_of
from masklet.inputs import checked_id, random_id
from masklet.results import TrackedFrame
from masklet.transport.protocol import Answer, Broken, Event, Refusal, Request

_FURTHER_IDS = 2  # under which a video that is refused begins at once: each is another choice of a gateway's, and costs a server one frame
_END_S = 5.0  # how long END may take: callers of `close` want to go on, and a server that does not hear it frees the video by itself
_END_AFTER_LOSS_S = 5.0  # how long a lost video may take to end; not worth more of anybody's time, nor less if frames are given less


class Session(Asking):
    """The state of one video on this side. Methods that ask for something raise VideoLost once the video is lost or closed.

    What is asked is held until `ready` gives the request for it.
    """

    def __init__(self, url: str, video_id: int | str | None, timeout_s: float) -> None:
        super().__init__()
        self._video_id = random_id() if video_id is None else checked_id(video_id)
        self._further = self._further_ids = _FURTHER_IDS if video_id is None else 0  # a name is the caller's
        self._url = url
        self._timeout_s = timeout_s
        self._owner = secrets.token_hex(16)
        self._outstanding = Outstanding()
        self._done: tuple[Callable[[], object], Callable[[], PendingResult | None]] | None = None  # the last event and its result, weakly
        self._beginning: tuple[PendingResult, Operation] | None = None  # what START was sent with, until it is answered
        self._leaving = False  # that was refused, and goes elsewhere
        self._started = False  # a request was answered without an error: the server holds the video
        self._may_exist = False  # a START was sent: the server may hold something
        self._draining = False
        self._foreign = False  # another client owns the video of this id
        self._lost: MaskletError | None = None
        self._closed = False
        self._waiting_since = 0.0
        self._sent_bytes = 0
        self._silent_before = 0.0  # seconds without a request or an answer, before the requests that wait now
        self._end_by: float | None = None  # deadline of END and all before it

    @property
    def video_id(self) -> int | str:
        """See `Asking`."""
        return self._video_id

    @property
    def began(self) -> bool:
        """See `Asking`."""
        return self._may_exist

    @property
    def lost(self) -> MaskletError | None:
        """Why the video is lost, if it is."""
        return self._lost

    def check(self) -> None:
        """See `Asking`."""
        if self._closed:
            raise VideoLost("this video is closed. Open a new one.")
        if self._lost:
            first = str(self._lost)
            raise VideoLost(first if isinstance(self._lost, VideoLost) else f"this video was lost before: {first}") from self._lost

    def add(self, operation: Operation) -> PendingResult:
        """See `Asking`."""
        pending = PendingResult(operation.without_tensors(), prompted=operation.is_frame)
        if not self._started:  # it may be held, or go elsewhere later, and the caller may use its array again
            operation = replace(operation, tensors={name: array.copy() for name, array in operation.tensors.items()})
        self._outstanding.held.append((pending, operation))
        return pending

    @property
    def must_end(self) -> bool:
        """Whether the server may hold something that END would free."""
        # Triton ends the sequence of an id whoever asks, so never for a video of somebody else. And where no server answers nobody hears it.
        return self._may_exist and not self._foreign and not isinstance(self._lost, ServerUnavailable)

    def end(self) -> tuple[PendingResult, Request]:
        """The request that frees the video on the server, lost or not. What was not sent yet will not be."""
        with self._lock:
            self._timeout_s = _END_AFTER_LOSS_S if self._lost else min(self._timeout_s, _END_S)
            if self._leaving and self._beginning:  # another thread was about to begin elsewhere
                self._outstanding.held.appendleft(self._beginning)
                self._leaving = False
            self._outstanding.fail_held(VideoLost("this video was closed before the request was sent."))
            self._end_by = time.monotonic() + self._timeout_s
            return self.issue(operations.end(), end=True)

    def ready(self) -> Iterator[Request]:
        """What can be sent now, in the order in which it was asked.

        Until the server has answered the first request, which carries START, that is this one alone: where it is refused nothing was sent in vain,
        and the next one begins the video. It costs the time of a round trip, once in a video.
        """
        while True:
            with self._lock:
                if not self._outstanding.held or not (self._started or not self._outstanding.sent):
                    return
                pending, operation = self._outstanding.held[0]
                operation = self.operations.with_returned(operation)
                request = self._request(pending, operation, end=False)
                self._beginning = (pending, operation) if request.start else None
                self._outstanding.held.popleft()
            yield request

    def leave(self) -> Request | None:
        """Where START was refused and may go elsewhere: END for the old id, whose place in Triton it frees. `ready` begins under another one then."""
        with self._lock:
            if not self._leaving:
                return None
            end = self._to_send(operations.end(), end=True)
            self._video_id = random_id()
            assert self._beginning is not None
            if self._beginning not in self._outstanding.held:  # as after an interrupt
                self._outstanding.held.appendleft(self._beginning)
            self._further -= 1
            self._leaving = False
            return end

    def issue(self, operation: Operation, *, end: bool = False) -> tuple[PendingResult, Request]:
        """The request for an operation, to be sent at once; `end`: it also frees the video."""
        with self._lock:
            pending = PendingResult(operation.without_tensors(), end=end)
            return pending, self._request(pending, operation, end=end)

    def close(self) -> None:
        """No request can be made any more."""
        self._closed = True

    @property
    def silence(self) -> float:
        """Seconds since the last request or answer; 0 where nothing is to be kept alive: it has not begun, is over, will move, or is being asked."""
        idle = self._started and not (self._outstanding.sent or self._outstanding.held or self._draining)
        over = self._lost or self._closed or self._end_by is not None
        return time.monotonic() - self._waiting_since if idle and not over else 0.0

    def patience(self) -> float:
        """Seconds that the oldest request may still take: `timeout_s` since it was sent or since the answer before it; at the end in all."""
        until = self._waiting_since + self._timeout_s if self._end_by is None else self._end_by
        return max(0.0, until - time.monotonic())

    def resolve(self, event: Event) -> PendingResult | None:
        """Gives the result that an event belongs to its outcome, and gives that result.

        None where no result is concerned more than others: a broken stream is the outcome of all of them, and so is an answer to nothing that was
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
            pending = self._outstanding.sent[request_id]
            self._leaving = self._may_leave(event, request_id)
            if not self._leaving:
                outcome = self._outcome(event, pending, request_id)
                pending.heard = True
                pending.prompted = False
                pending.outcome = pending.outcome or outcome
                self._may_exist = self._may_exist and not pending.end  # even a refused END leaves nothing to free
                self._beginning, self._further = None, self._further_ids
            self._done = weakref.ref(event), weakref.ref(pending)
            self._outstanding.sent.pop(request_id, None)
            return pending

    def expire(self) -> None:
        """The oldest request has taken too long: the video is lost."""
        with self._lock:
            self._lose(losses.expired(self._url, self._outstanding.oldest, self._timeout_s, started=self._started))

    def _request(self, pending: PendingResult, operation: Operation, *, end: bool) -> Request:
        # START goes with every request until one is on its way or accepted: a refused START has started nothing.
        request = self._to_send(operation, start=not self._started and not self._outstanding.sent and not end, end=end)
        pending.operation = operation.without_tensors()
        if all(sent.operation.options.keep_alive for sent in self._outstanding.sent.values()):  # nobody waits for those
            now = time.monotonic()
            self._silent_before = now - self._waiting_since if self._started else 0.0
            self._waiting_since = now
        self._outstanding.sent[request.id] = pending
        self._sent_bytes += request.nbytes
        self._may_exist = True
        return request

    def _to_send(self, operation: Operation, *, start: bool = False, end: bool = False) -> Request:
        tensors = {**operation.tensors, "PROMPTS": operations.prompts_tensor(operation)}
        return Request(self.video_id, start, end, tensors, replace(operation.options, owner=self._owner).parameters())

    def _may_leave(self, event: Answer | Refusal, request_id: str) -> bool:
        """Whether it refuses START for want of room: then nothing is lost by beginning elsewhere."""
        if isinstance(event, Answer) or not self._beginning or not self._further or self._end_by is not None:
            return False
        return token_of(event.text) in (None, request_id) and isinstance(from_server(event.text), ServerBusy)

    def _asked(self, event: Answer | Refusal) -> str | None:
        """The id of the request that the event belongs to; None, and the video is lost, where there is none."""
        if event.id in self._outstanding.sent:
            return event.id
        if isinstance(event, Answer) or event.id:
            self._lose(losses.out_of_step(self._url, None))
        elif not self._outstanding.sent:
            self._break(event.text)
        return self._outstanding.oldest_id  # Triton's own refusal, from before it had read the request

    def _outcome(self, event: Answer | Refusal, pending: PendingResult, request_id: str) -> TrackedFrame | MaskletError:
        try:
            told = results.token(event.tensors) if isinstance(event, Answer) else token_of(event.text) or request_id
            if told != request_id:
                error = losses.out_of_step(self._url, pending)
                self._lose(error)
                return error
            if isinstance(event, Answer):
                asked = pending.operation
                result = results.read(event.tensors, asked.options, asked.size, prompts.visible(asked.items))
                self._started = True
                self._draining = result.draining  # a silent video would keep its server from stopping
                return result
            return self._refused(event, pending)
        except ServerFault as unreadable:
            return unreadable

    def _refused(self, refusal: Refusal, pending: PendingResult) -> MaskletError:
        error = from_server(refusal.text)
        self._foreign |= isinstance(error, NotOwner)
        # Whatever else was refused, the video goes on, or begins with the next request.
        if isinstance(error, VideoLost):
            error = losses.forgotten(error, self._silent_before)
            self._lost = self._lost or error
            self._outstanding.fail_held(error)
        prompted, pending.prompted = pending.prompted, False  # once, even if an interrupt makes this happen again
        if prompted and operations.changed_nothing(error, refusal.text):
            error = self.operations.take_back(pending.operation, error, runs=self._started)
        return error

    def _break(self, text: str) -> None:
        self._lose(losses.broken(self._url, self._outstanding.oldest, text, self._sent_bytes, started=self._started))

    def _lose(self, error: MaskletError) -> None:
        self._lost = self._lost or error
        self._beginning = None
        self._outstanding.fail(error)

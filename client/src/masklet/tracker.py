"""The client: `Tracker` knows a server, `Video` is one live video on it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, nullcontext, suppress
from types import TracebackType
from typing import Any
from urllib.parse import quote

from numpy.typing import ArrayLike

from masklet.contract import TRACKER
from masklet.errors import MaskletError, UnknownObject
from masklet.grpc_transport import GrpcTransport
from masklet.inputs import Frame
from masklet.pipeline import Results
from masklet.results import TrackedFrame
from masklet.session import Made, Session, Ticket
from masklet.transport import Broken, Event, Stream, Tls, Transport

UNSENT = Broken("a request could not be sent")


class Tracker:
    """A masklet server. Makes no connection itself: every video has its own.

    url        "host:port" of Triton's gRPC port
    tls        None: no TLS
    headers    sent with every stream, for gateways (authorisation, routing)
    timeout_s  how long an answer may take, counted from when its request was sent or the answer before it came
    model      name of the server's public model: tracker_VARIANT where it serves several variants
    transport  another way to reach the server, for tests: see `masklet.MockTransport`

    Videos of one tracker may be used in different threads, and a video in several, though its frames then have no certain order.
    """

    def __init__(
        self,
        url: str,
        *,
        tls: Tls | None = None,
        headers: Mapping[str, str] | None = None,
        timeout_s: float = 30,
        model: str = TRACKER.name,
        transport: Transport | None = None,
    ) -> None:
        self._url = url
        self._transport = transport or GrpcTransport(url, tls=tls, model=model)
        self._headers = dict(headers or {})
        self._timeout_s = timeout_s
        self._videos: set[Video] = set()

    def open(self, video_id: int | str | None = None, state: bytes | None = None) -> Video:
        """A new video. Nothing is sent before its first frame, unless there is a `state`: then the server's answer is waited for.

        video_id  integer from 1 to 2**63 - 1 or string of 1 to 128 bytes, random by default; a name in use by another client is refused
        state     a snapshot of another video, to go on where it was taken

        Raises BadVideoId, and with a state also BadState and whatever `Video.track` raises.
        """
        session = Session(self._url, video_id, self._timeout_s)
        headers = stream_headers(self._headers, session.video_id)
        video = Video(session, lambda: self._transport.open_stream(headers), self._videos.discard)
        self._videos.add(video)
        if state is not None:
            video._restore(state)
        return video

    def close(self) -> None:
        """Closes the videos that are still open, all of them, whatever error one of them has."""
        with ExitStack() as stack:
            for video in self._videos:
                stack.callback(video.close)

    def __enter__(self) -> Tracker:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        with suppress(MaskletError) if error else nullcontext():  # the first error is the one to see
            self.close()


def stream_headers(headers: Mapping[str, str], video_id: int | str) -> dict[str, str]:
    """The headers of a video's stream. Gateways route by `x-video-id`; headers are ASCII, so an id that is not is percent-encoded."""
    return {**headers, "x-video-id": quote(str(video_id), safe="!#$&'()*+,/:;=?@[]|")}


class Video:
    """One live video: objects are prompted, then tracked through the frames that follow.

    Errors: a RequestError means that one call was refused and changed nothing, and a ServerFault that it failed inside; the video goes on,
    but prompts that went with a refused frame are gone. ServerBusy refuses a video, or one more object; the same call may be tried again.
    After VideoLost, a deadline or a broken stream the video is over and every later call raises VideoLost. `close` is needed after all of them.
    """

    def __init__(self, session: Session, open_stream: Callable[[], Stream], forget: Callable[[Video], None]) -> None:
        self._session = session
        self._open_stream = open_stream
        self._forget = forget
        self._stream = open_stream()
        self._sending = threading.Lock()
        self._waiting = threading.Lock()
        self._closed = False

    @property
    def video_id(self) -> int | str:
        """The id of the video on the server, its correlation id."""
        return self._session.video_id

    def prompt(
        self,
        object_id: int,
        *,
        points: ArrayLike | None = None,
        labels: ArrayLike | None = None,
        box: ArrayLike | None = None,
        mask: ArrayLike | None = None,
        append: bool = False,
        clear: bool = False,
    ) -> None:
        """Says where an object is, in the next frame that is sent. Sends nothing itself.

        A second prompt for the same object before that frame replaces the first, or adds its points with `append`.

        object_id  any integer; a new one makes a new object
        points     (N, 2): x, y in pixels of the frame
        labels     (N,): 1 on the object, 0 beside it; all 1 by default
        box        x0, y0, x1, y1 in pixels of the frame
        mask       bool or integer (H, W), not 0 on the object, at the size of the frame; stands alone
        append     adds the points to the ones that the object has on this frame; by default they replace them
        clear      forgets the object's prompts on this frame first

        Raises BadPrompt.
        """
        self._session.prompt(object_id, points=points, labels=labels, box=box, mask=mask, append=append, clear=clear)

    def remove(self, object_id: int) -> None:
        """Forgets an object, at once. Raises UnknownObject."""
        dropped = self._session.drop(object_id)
        with suppress(UnknownObject) if dropped else nullcontext():  # the server need not know what was only prompted
            self._wait(self._send(lambda: self._session.remove(object_id)))

    def track(
        self,
        frame: Frame,
        *,
        logits: bool = False,
        snapshot: bool = False,
        refine: bool = False,
        track: bool = True,
        frame_index: int | None = None,
        reverse: bool = False,
    ) -> TrackedFrame:
        """Tracks all objects into a frame and waits for the result.

        frame        uint8 (H, W, 3) RGB, or the bytes of a JPEG, PNG or WebP file
        logits       also return the low-resolution mask logits
        snapshot     also return the state of the video after this frame
        refine       this is the frame just answered, sent again with more prompts
        track        False: compute only the objects prompted now, so that prompts can be given on several frames before tracking starts
        frame_index  index of this frame; by default the next one in the direction of travel
        reverse      the video is sent backwards

        Raises any MaskletError; the errors of `Video` say what each means for the video.
        """
        options = {"logits": logits, "snapshot": snapshot, "refine": refine, "track": track, "frame_index": frame_index, "reverse": reverse}
        return self._wait(self._send_frame(frame, **options))

    def track_many(self, frames: Iterable[Frame], in_flight: int = 4) -> Iterator[TrackedFrame]:
        """Tracks through many frames, with up to `in_flight` of them on their way. Gives the results in order.

        Frames are taken from `frames` as they are needed: one per result, more while results lag behind. `prompt` inside the loop goes
        with the next frame that is taken. An error comes in the place of its frame's result; after a RequestError, or an error of `frames`,
        `next` on the same iterator goes on with the frames already sent.
        """
        if in_flight < 1:
            raise ValueError(f"in_flight must be at least 1, got {in_flight}.")
        return Results(self, iter(frames), in_flight)

    def snapshot(self) -> bytes:
        """The state of the video after the last frame. `Tracker.open(state=...)` goes on from it, here or on another server."""
        state = self._wait(self._send(self._session.snapshot)).snapshot
        assert state is not None
        return state

    def close(self) -> None:
        """Ends the video and frees what the server holds of it. Closing twice does nothing.

        Raises VideoLost if the video was fine until now and the server does not answer; it then frees the video by itself after a while.
        """
        if self._closed:
            return
        self._closed = True
        try:
            failure = None if self._session.lost else self._end()
            if self._session.lost and self._session.must_end:  # lost by now: over a new stream, since late answers may come on the old one
                self._stream.close(cancel=True)
                self._stream = self._open_stream()
                failure = self._end() and failure
            if failure:
                raise failure
        finally:
            self._session.close()
            self._stream.close()
            self._forget(self)

    def __enter__(self) -> Video:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        with suppress(MaskletError) if error else nullcontext():  # the first error is the one to see
            self.close()

    def _restore(self, state: bytes) -> None:
        try:
            self._wait(self._send(lambda: self._session.restore(state)))
        except BaseException:
            with suppress(MaskletError):  # the first error is the one to see
                self.close()
            raise

    def _end(self) -> Exception | None:
        """Sends END. Gives the error if nobody heard it; what the server thinks of it does not matter."""
        if not self._session.must_end:
            return None
        ticket = self._send(self._session.end)
        self._settle(ticket)
        return ticket.unheard

    def _send(self, make: Callable[[], Made]) -> Ticket:
        with self._sending:  # requests must be sent in the order in which the session made them
            ticket, request = make()
            try:
                self._stream.send(request)
            except BaseException:  # such as Ctrl-C: from here on answers would be taken for those of other requests
                self._session.resolve(UNSENT)
                raise
            return ticket

    def _send_frame(self, frame: Frame, **options: Any) -> Ticket:
        return self._send(lambda: self._session.frame(frame, **options))

    def _wait(self, ticket: Ticket) -> TrackedFrame:
        self._settle(ticket)
        return ticket.result()

    def _settle(self, ticket: Ticket) -> None:
        """Waits until the ticket has its outcome."""
        with self._waiting:  # one thread waits; on the way it resolves the tickets of the others
            while ticket.outcome is None:
                try:
                    self._take(self._stream.receive(self._session.patience()))
                except TimeoutError:
                    self._session.expire()
                    self._stream.close(cancel=True)

    def _settled(self, ticket: Ticket) -> bool:
        """Whether the ticket has its outcome, without waiting."""
        with self._waiting:
            while ticket.outcome is None and (event := self._stream.poll()):
                self._take(event)
        return ticket.outcome is not None

    def _take(self, event: Event) -> None:
        self._session.resolve(event)
        if isinstance(event, Broken):
            self._stream.close(cancel=True)

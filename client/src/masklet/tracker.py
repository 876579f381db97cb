"""The client for threads: `Tracker` knows a server, `Video` is one live video on it. Each call runs that of `masklet.aio` to its end."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext, suppress
from functools import partial
from types import TracebackType
from typing import Any

from numpy.typing import ArrayLike

from masklet.aio import AsyncVideo, Videos
from masklet.concurrency.threads import Threads, finish
from masklet.connection import keep_alive
from masklet.connection.interruption import Interruption
from masklet.contract import TRACKER
from masklet.errors import MaskletError
from masklet.info import ServerInfo
from masklet.pixels import FrameLike
from masklet.recovery.options import Resilience
from masklet.results import TrackedFrame
from masklet.transport.grpc_transport import GrpcTransport
from masklet.transport.protocol import Tls, Transport
from masklet.transport.servers import Servers
from masklet.wire import MaskForm, Overlap


class Tracker:
    """A masklet server, or several that are alike. Makes no connection itself: every video has its own.

    url        "host:port" of Triton's gRPC port; or several of them, in the order in which resilient videos try them. Others take the first
    tls        None: no TLS
    headers    sent with every stream, for gateways (authorisation, routing)
    timeout_s  how long an answer may take, counted from when its request was sent or the answer before it came
    model      name of the server's public model: tracker_VARIANT where it serves several variants
    proxy      "http://HOST:PORT" of an HTTP proxy to go through. None: straight to the server; http_proxy and its like do not count
    keep_alive_s  for so long after its last request an open video is kept alive: a server forgets those that are silent for its `idle_seconds` (75 s
               by default), so it gets a request without a frame after every 20 s of silence. 0: none. Not while an event loop stands still
    transport  another way to reach the server, or a dict by url, for tests: see `masklet.testing`

    Videos of one tracker may be used in different threads, and a video in several, though its frames then have no certain order. In a forked child
    they raise RuntimeError, and a new tracker warns: gRPC does not survive every fork. RuntimeError also where gevent has patched gRPC's threads.
    """

    def __init__(
        self,
        url: str | Sequence[str],
        *,
        tls: Tls | None = None,
        headers: Mapping[str, str] | None = None,
        timeout_s: float = 30,
        model: str = TRACKER.name,
        proxy: str | None = None,
        keep_alive_s: float = keep_alive.FOR_S,
        transport: Transport | Mapping[str, Transport] | None = None,
    ) -> None:
        servers = Servers(url, transport, partial(GrpcTransport, tls=tls, model=model, proxy=proxy), headers or {}, blocking=True)
        self._videos = Videos(servers, timeout_s, keep_alive_s, Threads)

    def open(self, video_id: int | str | None = None, state: bytes | None = None, *, resilient: bool | Resilience = False) -> Video:
        """A new video. Nothing is sent before its first frame, unless there is a `state`: then the server's answer is waited for.

        video_id   integer from 1 to 2**63 - 1 or string of 1 to 128 bytes, random by default; a name in use by another client is refused. Choose
                   names only where all clients are yours: who knows one can end the video (Triton ends a sequence for whoever asks), not see it.
                   A resilient video gets another one with each further server that it is on; one without a name whose first request is refused
                   for want of room begins under two more, at once, since behind a gateway each may be another server's: `Video.video_id` says which
        state      a snapshot of another video, to go on where it was taken
        resilient  the video survives its server: see `Resilience`, which is also how to set it

        Raises BadVideoId, and with a state also BadState and whatever `Video.track` raises.
        """
        return Video(finish(self._videos.open(self._videos.connector(video_id, resilient), state)))

    def info(self) -> ServerInfo:
        """What the server, of several the first, says of itself: its variant, versions, limits, and room now. Takes no video's place.

        Raises ServerUnavailable, and ServerFault for a server of a version that says nothing.
        """
        return finish(self._videos.info())

    def close(self) -> None:
        """Closes the videos that are still open, all of them, whatever error one of them has."""
        finish(self._videos.close())

    def __enter__(self) -> Tracker:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        with suppress(MaskletError) if error else nullcontext():  # the first error is the one to see
            self.close()


class Video:
    """One live video: objects are prompted, then tracked through the frames that follow.

    Errors: a RequestError means that one call was refused and changed nothing, and a ServerFault that it failed inside; the video goes on.
    ServerBusy refuses a video, or one more object; the same call may be tried again, after `retry_after_s` of the error. After VideoLost, a deadline,
    a broken stream or the answer to another request (a ServerFault; it never becomes a result) the video is over and every later call raises
    VideoLost. `close` is needed after all.

    The prompts of a refused frame are kept, and go with the next frame that is sent, unless there are newer ones of the same object by then; the
    error says so. Frames that are on their way already go without them. Not kept are a prompt that the error names ("object 4 (prompt 3): ..."); and
    the prompts of a frame that is refused a second time for what may be their fault (BadPrompt, TooManyPoints, TooManyObjects and ServerFault;
    ServerBusy too once the video runs). `remove` drops those that are kept.

    A resilient video goes on elsewhere instead. It is over when no server takes it any more; then VideoLost has the newest snapshot.
    """

    def __init__(self, video: AsyncVideo) -> None:
        self._video = video

    @property
    def video_id(self) -> int | str:
        """The id of the video on the server, its correlation id."""
        return self._video.video_id

    @property
    def interruptions(self) -> list[Interruption]:
        """What a resilient video has survived so far, oldest first."""
        return self._video.interruptions

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
        self._video.prompt(object_id, points=points, labels=labels, box=box, mask=mask, append=append, clear=clear)

    def remove(self, object_id: int) -> None:
        """Forgets an object, at once. Raises UnknownObject."""
        finish(self._video.remove(object_id))

    def track(
        self,
        frame: FrameLike,
        *,
        masks: MaskForm | None = None,
        bgr: bool = False,
        tag: Any = None,
        logits: bool = False,
        snapshot: bool = False,
        refine: bool = False,
        track: bool = True,
        frame_index: int | None = None,
        reverse: bool = False,
        overlap: Overlap = "allowed",
    ) -> TrackedFrame:
        """Tracks all objects into a frame and waits for the result.

        frame        uint8 (H, W, 3) RGB: a numpy array, a torch tensor or a PIL image; or the bytes of a JPEG, PNG or WebP file; or a frame of
                     `masklet.sources`, whose image is sent as the frame of its index
        masks        form in which masks travel: "rle" (COCO run lengths: few bytes), "bitmap" (quick to decode; not for bytes) or "none" (boxes and
                     scores alone). None: bitmaps for pixels, run lengths for bytes
        bgr          the channels of an array are blue, green, red, as OpenCV reads them
        tag          comes back as `tag` of the result
        logits       also return the low-resolution mask logits
        snapshot     also return the state of the video after this frame
        refine       this is the frame just answered, sent again with more prompts
        track        False: compute only the objects prompted now, so that prompts can be given on several frames before tracking starts
        frame_index  index of this frame; by default the next one in the direction of travel
        reverse      the video is sent backwards
        overlap      "exclusive": a pixel that several objects claim is given to the one with the highest logit there, so that masks can be written as
                     one label picture. It changes masks and their boxes, not scores, logits, or what the server remembers

        Raises any MaskletError; the errors of `Video` say what each means for the video.
        """
        options: dict[str, Any] = {
            "logits": logits,
            "snapshot": snapshot,
            "refine": refine,
            "track": track,
            "frame_index": frame_index,
            "reverse": reverse,
            "overlap": overlap,
        }
        return finish(self._video.track(frame, masks=masks, bgr=bgr, tag=tag, **options))

    def track_many(
        self,
        frames: Iterable[FrameLike],
        in_flight: int = 4,
        *,
        masks: MaskForm | None = None,
        overlap: Overlap = "allowed",
        bgr: bool = False,
        skip_damaged: bool = True,
    ) -> Iterator[TrackedFrame]:
        """Tracks through many frames, with up to `in_flight` of them (1 to 64) on their way. Gives the results in order, each as soon as it is there.
        What a frame can be, `masks` and `bgr` are as in `track`; `frame` of a result is the one it belongs to.

        Frames are taken as they are needed: one at a time while `next` waits for a result, in a thread, so that a camera that blocks does not hold up
        results. `prompt` inside the loop goes with the next frame that is sent: frames are sent by `next` only. `overlap`: see `track`.

        A file (bytes) that came behind good ones and cannot be decoded is skipped, with a warning in the log `masklet`; its prompts go with the next
        frame, which gets its index: `result.frame` says which frame each result is of. With `skip_damaged=False` it is an error.

        An error comes in the place of its frame's result; after a RequestError, or an error of `frames`, `next` on the same iterator goes on with the
        frames already sent. Where `next` is interrupted (Ctrl-C), the result comes with the next call.

        When the loop is left early the thread drops the frame that it waits for, and ends: do not go on with the same generator elsewhere.
        """
        results = self._video.track_many(frames, in_flight, masks=masks, overlap=overlap, bgr=bgr, skip_damaged=skip_damaged)
        return _Results(results)

    def snapshot(self) -> bytes:
        """The state of the video after the last frame. `Tracker.open(state=...)` goes on from it, here or on another server."""
        return finish(self._video.snapshot())

    def close(self) -> None:
        """Ends the video and frees what the server holds of it. Closing twice does nothing.

        Waits for the server for 5 s (`timeout_s` if that is less), and if it is silent as long again over a new connection. Raises VideoLost if the
        video was fine until now and the server does not answer; it then frees the video by itself after a while. Where the video is resilient nothing
        is raised. In a forked child it does nothing: the video is the parent's.
        """
        finish(self._video.close())

    def __enter__(self) -> Video:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        with suppress(MaskletError) if error else nullcontext():  # the first error is the one to see
            self.close()


class _Results(Iterator[TrackedFrame]):
    """The iterator of `track_many`."""

    def __init__(self, results: AsyncIterator[TrackedFrame]) -> None:
        self._results = results

    def __next__(self) -> TrackedFrame:
        try:
            return finish(self._next())
        except StopAsyncIteration:
            raise StopIteration from None

    async def _next(self) -> TrackedFrame:
        return await anext(self._results)

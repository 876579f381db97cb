"""One live video, for threads. Each call runs that of `masklet.async_video` to its end."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import nullcontext, suppress
from types import TracebackType
from typing import Any

from numpy.typing import ArrayLike

from masklet.async_video import AsyncVideo
from masklet.concurrency.threads import finish
from masklet.connection.interruption import Interruption
from masklet.errors import MaskletError
from masklet.history.rewind import Rewind
from masklet.pixels import FrameLike
from masklet.results import TrackedFrame
from masklet.wire import MaskForm, Overlap


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

    def follow(
        self,
        source: Iterable[FrameLike],
        *,
        deadline_s: float | None = None,
        max_age_s: float | None = None,
        masks: MaskForm | None = None,
        overlap: Overlap = "allowed",
        bgr: bool = False,
    ) -> Iterator[TrackedFrame]:
        """Tracks a source that does not wait: the newest frame wins, and each result is given as soon as it is there.

        source      a live one of `masklet.sources`: a camera, a stream, or `newest(frames)`. Anything else is no live source: every frame of it is
                    tracked, as by `track_many`
        deadline_s  a frame is sent only if its answer can be expected within so many seconds of the moment when it came; others are jumped over. A
                    server that is slower than that even alone gets one frame at a time: the log `masklet` says so, and results are "stale"
        max_age_s   results that are older are "stale"; None: `deadline_s`
        masks, overlap, bgr  see `track`

        A frame's index is its number among all that came: it jumps where frames were not tracked, and their places in the memory stay empty. Two
        frames at most are on their way, so a result is some one and a half times as old as an answer takes, and twice at most, whatever the camera's
        rate. `label`, `skipped` and `age_s` of a result say what became of it. After `rewind` the results of changed frames come again, "replayed".

        Prompts given inside the loop go with the next frame that is sent. Errors: see `track_many`. Raises ValueError.
        """
        return _Results(self._video.follow(source, deadline_s=deadline_s, max_age_s=max_age_s, masks=masks, overlap=overlap, bgr=bgr))

    def rewind(self, frame_index: int) -> Rewind:
        """Gives prompts for a frame that is over, of a video that was opened with `history_s`:

            with video.rewind(120) as past:
                past.prompt(3, points=[(210, 350)])
            for result in past.wait():  # frames from 120 on, tracked again; without `wait` the video goes on meanwhile
                ...

        Everything is as if they had been given before that frame was sent, after those that it had; see `Rewind`. Several rewinds are made one after
        another. Raises BadFrameIndex, with the oldest frame that can be reached, when the block begins; BadRequest where nothing is kept.
        """
        return Rewind(self._video.rewind(frame_index))

    def undo(self) -> Rewind:
        """Takes the newest rewind back that was not taken back yet: everything will be as if it had never been. What it gives has `wait`, as rewinds
        do. Raises BadRequest where there is none, and BadFrameIndex where its frame is no longer kept."""
        return Rewind(finish(self._video.undo()))

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
    """The iterator of `track_many` and `follow`."""

    def __init__(self, results: AsyncIterator[TrackedFrame]) -> None:
        self._results = results

    def __next__(self) -> TrackedFrame:
        try:
            return finish(self._next())
        except StopAsyncIteration:
            raise StopIteration from None

    async def _next(self) -> TrackedFrame:
        return await anext(self._results)

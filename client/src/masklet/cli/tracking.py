"""The work of `masklet track`: frames to the server, results to the folder, and now and then a snapshot beside them."""

from __future__ import annotations

import itertools
import threading
import warnings
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from masklet import vanished
from masklet.cli import resume
from masklet.cli.ages import Ages
from masklet.cli.failure import Failure
from masklet.cli.prompts import Prompts
from masklet.cli.resume import Progress, Snapshots
from masklet.cli.stopping import Stopping
from masklet.cli.writers import Results
from masklet.errors import RequestError
from masklet.results import TrackedFrame
from masklet.sources import Frame
from masklet.video import Video

Say = Callable[[str], object]

_CLOSE_S = 2.0  # how long the end waits for a frame that is being read


class Feed:
    """Frames on their way to the server, each with its prompts; taken in a thread of its own.

    on_their_way  those whose results have not come, oldest first
    states        snapshots, by the index of the frame that they were taken after
    live          see `Source`
    """

    def __init__(self, video: Video, frames: Iterator[Frame], prompts: Prompts, snapshots: Snapshots | None, live: bool) -> None:
        self.live = live
        self.on_their_way: deque[Frame] = deque()
        self.states: dict[int, bytes] = {}
        self._video, self._frames, self._prompts, self._snapshots = video, frames, prompts, snapshots
        self._reading = threading.Lock()
        self._over = False

    def __iter__(self) -> Iterator[Frame]:
        last: Frame | None = None
        while (frame := self._next()) is not None:
            if last is not None and self._snapshots and self._snapshots.due:  # every frame before this one has been sent
                self.states[last.index] = self._snapshots.take(self._video.snapshot)
            self._prompts.give(self._video, frame)
            self.on_their_way.append(frame)
            last = frame
            yield frame

    def settled(self, frame: Frame) -> None:
        """The frame has its result; those before it will have none."""
        while self.on_their_way.popleft() is not frame:
            pass

    def stop(self) -> None:
        """Waits for the frame that is being read, so that the source can be closed; not for ever, for a camera may be silent."""
        self._over = True
        if self._reading.acquire(timeout=_CLOSE_S):
            self._reading.release()

    def _next(self) -> Frame | None:
        with self._reading:
            return None if self._over else next(self._frames, None)


class Tracking:
    """One run over one source.

    settings  what must be the same when a later run goes on here; None: nobody can go on, as with a camera
    options   of `Video.follow`; `live`: whether the source is
    say       tells people something beside the bar of progress
    """

    def __init__(
        self,
        folder: Path,
        prompts: Prompts,
        results: Results,
        stopping: Stopping,
        settings: dict[str, Any] | None,
        options: Mapping[str, Any],
        live: bool,
        say: Say,
    ) -> None:
        self.ages = Ages()
        self._options, self._live = options, live
        self._folder, self._prompts, self._results, self._stopping, self._settings, self._say = folder, prompts, results, stopping, settings, say
        self._written = -1

    def redraw(self, frames: Iterator[Frame], done: Progress) -> None:
        """Draws the overlay of what is done again, from the masks that are there. Raises Failure for other prompts or another video."""
        index = -1
        for line in self._results.restored(done.length):
            frame = next(frames, None)
            if frame is None or frame.index != line["frame"]:
                raise Failure(f"this is not the video that {self._folder} is of: frame {line['frame']} cannot be read. Choose another folder.")
            self._prompts.use(frame)
            with self._stopping.whole():
                self._results.redraw(frame, line)
            index = frame.index
        if self._prompts.digest(index) != done.prompts:
            advice = "Give the same ones, and new ones on later frames only; or start again in another folder."
            raise Failure(f"the prompts up to frame {index} are not those that the results in {self._folder} were made with. {advice}")

    def before_prompts(self, frames: Iterator[Frame], advance: Callable[[], object]) -> Iterator[Frame]:
        """Writes the frames before the first that has prompts, which no server needs to see. Gives those from there on."""
        for frame in frames:
            if self._prompts.are_for(frame):
                return itertools.chain([frame], frames)
            self._write(frame, None)
            advance()
        return iter(())

    def track(self, video: Video, frames: Iterator[Frame], advance: Callable[[], object]) -> None:
        """Tracks through the frames. Raises Failure, MaskletError and OSError."""
        feed = Feed(video, frames, self._prompts, Snapshots() if self._settings is not None else None, self._live)
        try:
            results = video.follow(feed, **self._options)
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", r"object \d+ has no pixel")  # `_write` says it
                while (result := self._next(results, feed)) is not None:
                    self._keep_new(feed)  # taken after that frame was written; the next one was sent later still
                    feed.settled(result.frame)
                    self.ages.add(result)
                    self._write(result.frame, result)
                    self._keep_new(feed)
                    advance()
        finally:
            feed.stop()

    def _next(self, results: Iterator[TrackedFrame], feed: Feed) -> TrackedFrame | None:
        try:
            return next(results, None)
        except RequestError as error:
            if feed.live or not feed.on_their_way or (index := feed.on_their_way[0].index) == 0:  # of a camera it may be one that was jumped over
                raise
            raise type(error)(f"frame {index}: {error}") from error

    def _write(self, frame: Frame, result: TrackedFrame | None) -> None:
        """Writes a frame; before the first of all, that there is no snapshot yet."""
        with self._stopping.whole():
            if self._results.frames == 0:
                self._keep(-1, b"")  # before all else: without it what is there counts as finished
                self._results.begin()
            self._results.write(frame, result)
            self._written = frame.index
        if result is not None and result.vanished:
            shown = result.at_size(frame.size)
            for object_id in result.vanished:
                self._say(vanished.told(shown, object_id))

    def _keep_new(self, feed: Feed) -> None:
        """Keeps the snapshot after the last frame that is written, where there is one."""
        if (state := feed.states.pop(self._written, None)) is not None:
            with self._stopping.whole():
                self._keep(self._written, state)

    def _keep(self, index: int, state: bytes) -> None:
        if self._settings is not None:
            self._results.sync()
            resume.save(self._folder, Progress(index, self._results.length, self._prompts.digest(index), self._settings), state)

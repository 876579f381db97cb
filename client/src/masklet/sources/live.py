"""Live streams: a thread reads all, and the newest frame waits for whoever wants it."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

from masklet.errors import SourceError
from masklet.sources.frame import Frame
from masklet.sources.images import scaled
from masklet.sources.newest import Slot
from masklet.sources.source import Source, log, need
from masklet.sources.upright import pixels
from masklet.sources.video import TIMEOUT_S, reason, video_stream

_GIVE_UP_S = 60.0  # without a frame


class Live:
    """A stream that is opened again when it ends or says nothing for 5 s, until there was no frame for a minute.

    Decoders need every frame, callers only the newest: a frame that nobody took gives way to the next, so a slow caller never falls behind.
    Frames are decoded one by one: decoders in threads for frames hold back one for each thread.
    """

    def __init__(self, container: Any, opened: Callable[[], Any], shown: str, max_side: int | None) -> None:
        self._container, self._opened, self._shown, self._max_side = container, opened, shown, max_side
        self._slot: Slot[tuple[Any, float, float]] = Slot()  # PyAV's frame, seconds after the first, when it arrived
        self._clock = Clock()
        self._heard_s = time.monotonic()
        self._tries = 0  # without a frame
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._read, name="masklet-source", daemon=True)

    def source(self, fps: float) -> Source:
        """Starts to read."""
        self._thread.start()
        return Source(self._shown, self._frames(), fps=fps, live=True, close=self.close)

    def close(self) -> None:
        """Ends the thread: at once where frames come, at a silent stream when its time is over."""
        self._closing.set()
        self._slot.close()
        self._thread.join(2 * TIMEOUT_S)  # a camera's driver may hang for ever

    def _frames(self) -> Iterator[Frame]:
        for index, (picture, time_s, arrived_s) in self._slot:
            image = pixels(picture)
            yield Frame(index, time_s, f"{index:05}", scaled(image, self._max_side), image.shape[:2], arrived_s)

    def _read(self) -> None:
        try:
            while not self._closing.is_set():
                why = self._connection()
                if self._closing.is_set():
                    return
                if time.monotonic() - self._heard_s > _GIVE_UP_S:
                    raise SourceError(f"{self._shown} gave no frame for {_GIVE_UP_S:g} s: {why}. See whether a player shows it.")
                log.warning("%s: %s; connecting again", self._shown, why)
                self._closing.wait(delay_s(self._tries))
                self._tries += 1
        except BaseException as error:  # whatever it is, it must not leave the caller waiting
            self._slot.end(error)

    def _connection(self) -> str:
        """Reads until a connection breaks; gives why."""
        try:
            container, self._container = self._container or self._opened(), None
            with container:
                return self._pictures(container)
        except SourceError as error:
            return str(error).removeprefix(self._shown).strip(" .")

    def _pictures(self, container: Any) -> str:
        av = need("av")
        stream = video_stream(container, self._shown)
        stream.thread_type = "SLICE"
        self._clock.connected()
        packets = container.demux(stream)
        while not self._closing.is_set():
            try:
                packet = next(packets, None)
            except (av.FFmpegError, OSError) as error:
                return reason(error)
            if packet is None:
                return "the stream ended"
            try:
                pictures = packet.decode()
            except av.FFmpegError:
                continue  # damaged on its way; the next key frame mends it
            for picture in pictures:
                self._arrived(picture, stream)
        return "closed"

    def _arrived(self, picture: Any, stream: Any) -> None:
        now = time.monotonic()
        time_s = self._clock.time_s(None if picture.pts is None else float(picture.pts * stream.time_base), now)
        self._slot.put((picture, time_s, now))
        self._heard_s, self._tries = now, 0


class Clock:
    """Seconds after the first frame: by the stream's own times where they advance, else by arrival. They never go back."""

    def __init__(self) -> None:
        self._first: float | None = None  # arrival of the first frame of all
        self._base: tuple[float, float] | None = None  # of the connection's first frame: seconds after the first of all, and its own time
        self._pts: float | None = None
        self._last = 0.0

    def connected(self) -> None:
        """A connection begins, and with it other times."""
        self._base = self._pts = None

    def time_s(self, pts: float | None, arrived: float) -> float:
        """The time of a frame with this time of its own, in seconds, that came now."""
        self._first = arrived if self._first is None else self._first
        since = arrived - self._first
        if pts is not None and self._base is None:
            self._base = (max(since, self._last), pts)
        advances = pts is not None and self._pts is not None and pts > self._pts
        self._pts = pts
        if advances and self._base is not None and pts is not None:
            since = self._base[0] + pts - self._base[1]
        self._last = max(since, self._last)
        return self._last


def delay_s(tries: int) -> float:
    """How long to wait before connecting again: twice as long each time, 2 s at most, by chance less, so that many do not come at once."""
    return random.uniform(0.5, 1.0) * min(2.0, 0.1 * float(2 ** min(tries, 10)))

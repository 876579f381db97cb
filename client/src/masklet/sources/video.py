"""Video files, also of a web server: every frame, in order."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

from masklet.errors import SourceError
from masklet.sources.frame import Frame
from masklet.sources.images import scaled
from masklet.sources.order import Order
from masklet.sources.source import Skipped, Source, Tell, log, need
from masklet.sources.upright import pixels

FPS = 25.0  # of streams that do not say
TIMEOUT_S = 5.0  # of opening an address, and of waiting for what comes next


def open_video(address: str, shown: str, max_side: int | None, skipped: Tell, **options: Any) -> Source:
    """The frames of a file. `shown` is its name in texts; `options` are PyAV's. Raises SourceError."""

    def opened() -> Any:
        return open_container(address, shown, **options)

    return read_video(opened(), opened, shown, max_side, skipped)


def read_video(container: Any, opened: Callable[[], Any], shown: str, max_side: int | None, skipped: Tell) -> Source:
    """The frames of an open container, which the source closes; `opened` opens it once more. Raises SourceError."""
    stream = video_stream(container, shown)
    stream.thread_type = "AUTO"
    fps = rate(stream)
    frames = _frames(_decoded(container, opened, shown, order := Order(fps, float(stream.time_base))), order, max_side, skipped)
    return Source(shown, frames, fps=fps, count=stream.frames or None, close=container.close)


def open_container(address: str, shown: str, **options: Any) -> Any:
    """PyAV's container. Raises SourceError, whose text and causes hold no more of the address than `shown`."""
    av, began = need("av"), time.monotonic()
    try:
        return av.open(address, **options)
    except (av.FFmpegError, OSError) as error:
        why = reason(error)  # the error itself names the address, with its password
        if isinstance(error, av.InvalidDataError) and "timeout" not in options:
            why += ". Is it a whole film? An MP4 that was cut off is without its table of frames"
    if "timeout" in options and time.monotonic() - began >= TIMEOUT_S:
        why = f"nothing came for {TIMEOUT_S:g} s"  # in the middle of a greeting FFmpeg calls it invalid data
    raise SourceError(f"{shown} cannot be opened as a video: {why}.")


def video_stream(container: Any, shown: str) -> Any:
    """The best video stream that is no cover picture or thumbnail. Closes the container and raises SourceError if there is none."""
    pictures = need("av").stream.Disposition.attached_pic
    films = [stream for stream in container.streams.video if not stream.disposition & pictures]
    best = container.streams.best("video")
    if films:
        return best if any(best is film for film in films) else films[0]
    what = "only a cover picture" if container.streams.video else "only sound" if container.streams.audio else "nothing that can be shown"
    container.close()
    raise SourceError(f"{shown} holds no video, {what}.")


def rate(stream: Any) -> float:
    """Frames per second on average."""
    return float(stream.average_rate or stream.guessed_rate or FPS)


def reason(error: BaseException) -> str:
    """What FFmpeg says, without the address that its errors end with."""
    if isinstance(error, need("av").error.ExitError):
        return f"nothing came for {TIMEOUT_S:g} s"
    return getattr(error, "strerror", None) or type(error).__name__


def _frames(pictures: Iterator[tuple[Any, int | None]], order: Order, max_side: int | None, skipped: Tell) -> Iterator[Frame]:
    def tell(lost: list[tuple[int, str]]) -> None:
        for index, why in lost:
            skipped(Skipped(index, f"{index:05}", f"it cannot be decoded: {why}"))

    for picture, pts in pictures:
        index, time_s, lost = order.place(pts, picture.key_frame)
        tell(lost)
        image = pixels(picture)
        yield Frame(index, time_s, f"{index:05}", scaled(image, max_side), image.shape[:2])
    tell(order.rest())


def _decoded(container: Any, opened: Callable[[], Any], shown: str, order: Order) -> Iterator[tuple[Any, int | None]]:
    """PyAV's frames with their times. What damaged packets cost is told to `order`.

    Decoders in threads for frames, when emptied at the end, stop at a damaged frame and keep the ones behind it. These are decoded again without.
    """
    first = video_stream(container, shown)
    yield from _pictures(container, first, order, shown)
    if order.due and order.last is not None:
        with opened() as again:
            stream = video_stream(again, shown)
            stream.thread_type = "SLICE"
            done = order.last
            again.seek(done, stream=stream)
            yield from ((picture, pts) for picture, pts in _pictures(again, stream, order, shown) if pts is not None and pts > done)
    said_s = _length_s(container, first)
    if said_s > order.shown_s + 1:
        log.warning("%s ends after %.1f s, and says that it has %.1f s: it is cut off or damaged", shown, order.shown_s, said_s)


def _length_s(container: Any, stream: Any) -> float:
    """How long the stream is, as the file says; Matroska says it of the file. 0: it does not say."""
    if stream.duration is None and "matroska" in container.format.name:
        return float(container.duration or 0) / 1e6
    return float((stream.duration or 0) * stream.time_base)


def _pictures(container: Any, stream: Any, order: Order, shown: str) -> Iterator[tuple[Any, int | None]]:
    av = need("av")
    packets = container.demux(stream)
    timed = container.format.name != "avi"  # its packets have the times of decoding
    while (packet := _next(packets, shown)) is not None:
        if timed and not packet.is_discard:
            order.sent(packet.pts)
        try:
            pictures = packet.decode()
        except av.FFmpegError as error:
            order.failed(reason(error))
            continue
        yield from ((picture, picture.pts if timed else None) for picture in pictures)


def _next(packets: Iterator[Any], shown: str) -> Any:
    """The next packet, or None. Raises SourceError."""
    try:
        return next(packets, None)
    except (need("av").FFmpegError, OSError) as error:
        why = reason(error)
    raise SourceError(f"{shown} cannot be read on: {why}. What came before is whole.")

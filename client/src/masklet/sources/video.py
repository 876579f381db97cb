"""Video files, also of a web server: every frame, in order."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from masklet.errors import SourceError
from masklet.sources.frame import Frame
from masklet.sources.images import scaled
from masklet.sources.order import Order
from masklet.sources.source import Skipped, Source, Tell, need
from masklet.sources.upright import pixels

FPS = 25.0  # of streams that do not say


def open_video(address: str, shown: str, max_side: int | None, skipped: Tell) -> Source:
    """The frames of a file. `shown` is its name in texts. Raises SourceError."""
    container = open_container(address, shown)
    return read_video(container, shown, max_side, skipped)


def read_video(container: Any, shown: str, max_side: int | None, skipped: Tell) -> Source:
    """The frames of an open container, which the source closes. Raises SourceError."""
    stream = video_stream(container, shown)
    stream.thread_type = "AUTO"
    fps = rate(stream)
    return Source(
        shown, _frames(container, stream, fps, shown, max_side, skipped), fps=fps, count=stream.frames or None, live=False, close=container.close
    )


def open_container(address: str, shown: str, **options: Any) -> Any:
    """PyAV's container. Raises SourceError, whose text and causes hold no more of the address than `shown`."""
    av = need("av")
    try:
        return av.open(address, **options)
    except (av.FFmpegError, OSError) as error:
        why = reason(error)  # the error itself names the address, with its password
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
    return getattr(error, "strerror", None) or type(error).__name__


def _frames(container: Any, stream: Any, fps: float, shown: str, max_side: int | None, skipped: Tell) -> Iterator[Frame]:
    order = Order(fps, float(stream.time_base))
    for picture in _decoded(container, stream, order, shown):
        for index, why in order.before(picture.pts):
            skipped(Skipped(index, f"{index:05}", f"it cannot be decoded: {why}"))
        index, time_s = order.place(picture.pts)
        image = pixels(picture)
        yield Frame(index, time_s, f"{index:05}", scaled(image, max_side), image.shape[:2])
    for index, why in order.rest():
        skipped(Skipped(index, f"{index:05}", f"it cannot be decoded: {why}"))


def _decoded(container: Any, stream: Any, order: Order, shown: str) -> Iterator[Any]:
    """PyAV's frames. What a damaged packet costs is told to `order`."""
    av = need("av")
    packets = container.demux(stream)
    while True:
        why = None
        try:
            packet = next(packets, None)
        except (av.FFmpegError, OSError) as error:
            why = reason(error)
        if why is not None:
            raise SourceError(f"{shown} cannot be read on: {why}. What came before is whole.")
        if packet is None:
            return
        order.sent(packet.pts)
        try:
            pictures = packet.decode()
        except av.EOFError:
            return
        except av.FFmpegError as error:
            order.failed(reason(error))
            continue
        yield from pictures

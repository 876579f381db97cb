"""A film of the objects alone, WebM with VP9 and alpha. Memory: one frame."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from importlib import import_module
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from masklet.errors import ExportError
from masklet.export.results_file import FrameMasks, Results
from masklet.export.settings import Settings
from masklet.sources import Frame

_CODEC = "libvpx-vp9"  # FFmpeg's own VP9 knows no alpha
_OPTIONS = {"crf": "20", "b": "0", "deadline": "good", "cpu-used": "5", "row-mt": "1"}
_MILLISECONDS = Fraction(1, 1000)


def write(results: Results, out: Path, settings: Settings) -> None:
    """Frames of the video with the objects' pixels opaque and the rest transparent, at the video's times. Raises ExportError.

    Frames without a result are left out. Alpha is 0 or 255 before it is compressed, and close to it afterwards.
    """
    if out.suffix != ".webm":
        raise ExportError(f"a film with alpha is a file of the kind .webm, and {out.name} is none. Name it so.")
    try:
        av = import_module("av")
    except ImportError as error:
        raise ExportError(f"webm needs PyAV, which cannot be imported ({error}): pip install 'masklet[cli]'") from error
    if _CODEC not in av.codecs_available:
        raise ExportError(f"this PyAV has no {_CODEC}, which writes films with alpha. Install PyAV from its wheel.")
    with av.open(str(out), "w", format="webm") as container:
        stream = None
        for frame, result in _paired(results, settings):
            if stream is None:
                stream = container.add_stream(_CODEC, rate=Fraction(results.fps).limit_denominator(1001), options=_OPTIONS)
                stream.height, stream.width, stream.pix_fmt = *result.size, "yuva420p"
                stream.codec_context.time_base = _MILLISECONDS
            if result.size != (stream.height, stream.width):
                raise ExportError(f"frame {result.index} is {_sized(result.size)}, those before {stream.height} x {stream.width}; a film has one.")
            picture = av.VideoFrame.from_ndarray(_cut_out(frame, result), format="rgba")
            picture.time_base = _MILLISECONDS
            picture.pts = round(1000 * (frame.index / settings.fps if settings.fps else frame.time_s))
            container.mux(stream.encode(picture))
        if stream is None:
            raise ExportError("no frame of the video has a result: is it the video that was tracked?")
        container.mux(stream.encode())


def _paired(results: Results, settings: Settings) -> Iterator[tuple[Frame, FrameMasks]]:
    """Frames of the video with their results."""
    wanted = iter(results)
    result = next(wanted, None)
    seen = -1
    with settings.frames() as frames:
        for frame in frames:
            seen = frame.index
            while result and result.index < frame.index:
                result = next(wanted, None)
            if result is None:
                return
            if result.index == frame.index:
                yield frame, result
    left = sum(1 for _ in wanted) + (result is not None and result.index > seen)
    if left:
        raise ExportError(f"the video ends before {left} of the results: give the video that was tracked.")


def _cut_out(frame: Frame, result: FrameMasks) -> NDArray[np.uint8]:
    """The frame, uint8 (H, W, 4) RGBA; black where it is transparent."""
    if frame.image.shape[:2] != result.size:
        seen = _sized(frame.image.shape[:2])
        raise ExportError(f"frame {frame.index} of the video is {seen}, its masks {_sized(result.size)}: give the video that was tracked.")
    shown = np.zeros(result.size, dtype=np.bool_)
    for tracked in result.objects:
        shown |= tracked.pixels()
    alpha = np.where(shown, 255, 0).astype(np.uint8)
    return np.dstack([frame.image * shown[:, :, None], alpha])


def _sized(size: tuple[int, ...]) -> str:
    return f"{size[0]} x {size[1]}"

"""The frame of a request."""

from __future__ import annotations

import io

import numpy as np
from numpy.typing import NDArray

from masklet import results
from masklet.pixels import Sendable
from masklet.results import TrackedFrame
from masklet.sources.source import need
from masklet.transport.protocol import Answer, Request
from masklet.wire import Options


def sent_size(request: Request) -> tuple[int, int] | None:
    """(height, width) of pixels that were sent; None where a file was, or nothing."""
    if "FRAME_SIZE" not in request.tensors:
        return None
    height, width = request.tensors["FRAME_SIZE"][0].tolist()
    return height, width


def sent_frame(request: Request) -> Sendable | None:
    """Pixels (H, W, 3), or the bytes of a file; None where the request has no frame."""
    if size := sent_size(request):
        pixels: NDArray[np.uint8] = request.tensors["FRAME"].reshape(*size, 3)
        return pixels
    return bytes(request.tensors["FRAME_ENCODED"][0, 0]) if "FRAME_ENCODED" in request.tensors else None


def has_frame(request: Request) -> bool:
    """Whether it has one; nothing is read for that."""
    return not request.tensors.keys().isdisjoint(("FRAME", "FRAME_ENCODED"))


def picture(request: Request) -> NDArray[np.uint8]:
    """Its frame as pixels (H, W, 3) RGB; files are decoded by Pillow. Raises SourceError without Pillow, and OSError for what is no picture."""
    frame = sent_frame(request)
    assert frame is not None
    if isinstance(frame, np.ndarray):
        return frame
    with need("PIL.Image").open(io.BytesIO(frame)) as image:
        return np.asarray(image.convert("RGB"))


def answered(request: Request, event: Answer) -> TrackedFrame:
    """What an answer to it says. Raises ServerFault."""
    return results.read(event.tensors, Options.parse(request.parameters), sent_size(request))

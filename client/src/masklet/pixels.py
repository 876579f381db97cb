"""Frames as callers have them -> what is sent: RGB pixels, or the bytes of a file.

What can be meant in two ways is refused, with the line to write.
"""

from __future__ import annotations

from os import PathLike
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from masklet.errors import BadFrame
from masklet.sources.frame import Frame

Sendable = NDArray[np.uint8] | bytes | bytearray | memoryview


class Picture(Protocol):
    """A PIL image."""

    @property
    def __array_interface__(self) -> dict[str, Any]: ...


class Tensor(Protocol):
    """A torch tensor."""

    def __array__(self, *arguments: Any, **options: Any) -> Any: ...


FrameLike = Sendable | Frame | Picture | Tensor


def sendable(frame: FrameLike, *, bgr: bool = False) -> Sendable:
    """The frame as it is sent. `bgr`: an array's channels are blue, green, red, as OpenCV has them. Raises BadFrame."""
    if isinstance(frame, Frame):
        frame = frame.image
    library = type(frame).__module__.partition(".")[0]
    if bgr and (isinstance(frame, bytes | bytearray | memoryview) or library == "PIL"):
        raise BadFrame(f"bgr=True is for arrays; {_kind(frame)} says its own order of channels. Leave it out.")
    if isinstance(frame, bytes | bytearray | memoryview):
        return frame
    if library == "PIL":
        return _of_picture(frame)
    pixels = _of_tensor(frame) if library == "torch" else frame
    if not isinstance(pixels, np.ndarray):
        raise BadFrame(f"a frame must be pixels or the bytes of a JPEG, PNG or WebP file, got {_kind(frame)}. {_advice(frame)}")
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3 or pixels.size == 0:
        raise BadFrame(f"a frame must be RGB, uint8 (H, W, 3), got {pixels.dtype} {pixels.shape}.{_line(pixels, torch=library == 'torch')}")
    return np.ascontiguousarray(pixels[..., ::-1]) if bgr else pixels


def index_of(frame: FrameLike) -> int | None:
    """The index that the frame of a source has in it."""
    return frame.index if isinstance(frame, Frame) else None


def _kind(frame: object) -> str:
    return "a PIL image" if type(frame).__module__.startswith("PIL") else type(frame).__name__


def _of_picture(picture: Any) -> NDArray[np.uint8]:
    if picture.mode in ("I", "F") or ";16" in picture.mode:
        raise BadFrame(f"a PIL image of mode {picture.mode} has more than 8 bits, and which to show is yours to say. Scale it to uint8 first.")
    if picture.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in picture.info:
        raise BadFrame('a PIL image with transparency: what lies behind it is yours to say. To ignore it: image.convert("RGBA").convert("RGB").')
    pixels: NDArray[np.uint8] = np.asarray(picture.convert("RGB"))
    return pixels


def _of_tensor(tensor: Any) -> Any:
    pixels = tensor.detach().cpu()
    return pixels.numpy() if str(pixels.dtype) != "torch.bfloat16" else pixels.float().numpy()


def _advice(frame: object) -> str:
    if isinstance(frame, str | PathLike):
        return "To send a file: Path(file).read_bytes(). For a video, a folder or a camera: masklet.sources."
    return "For other containers: np.asarray(frame), uint8 (H, W, 3) RGB."


def _line(pixels: np.ndarray, *, torch: bool) -> str:
    """The line to write where it can be guessed what the pixels are."""
    shape = pixels.shape
    if pixels.size == 0:
        return ""
    if pixels.ndim == 4:
        return " That is a batch: send its frames one by one."
    if pixels.ndim == 2:
        return " For grey: frame[..., None].expand(-1, -1, 3)." if torch else " For grey: np.repeat(frame[..., None], 3, axis=2)."
    if pixels.ndim == 3 and shape[0] == 3 and shape[2] != 3:
        return " Channels go last: frame.permute(1, 2, 0)." if torch else " Channels go last: frame.transpose(1, 2, 0)."
    if pixels.ndim == 3 and shape[2] == 4:
        return " Without the fourth channel: frame[..., :3]."
    if pixels.ndim == 3 and shape[2] == 1:
        return " For grey: frame.expand(-1, -1, 3)." if torch else " For grey: np.repeat(frame, 3, axis=2)."
    if pixels.dtype.kind == "f":
        return " For 0 to 1: (frame * 255).round().to(torch.uint8)." if torch else " For 0 to 1: (frame * 255).round().astype(np.uint8)."
    if pixels.dtype == np.uint16:
        return " For all 16 bits: (frame >> 8).astype(np.uint8)."
    return ""

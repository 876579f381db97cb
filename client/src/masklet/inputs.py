"""What users pass, checked as far as it is obviously wrong, and made into tensors."""

from __future__ import annotations

import secrets

import numpy as np
from numpy.typing import NDArray

from masklet.errors import BadFrame, BadVideoId

Frame = NDArray[np.uint8] | bytes | bytearray | memoryview


def random_id() -> int:
    """An id that no other video has."""
    return secrets.randbelow(2**63 - 1) + 1


def checked_id(video_id: int | str) -> int | str:
    """The id, if Triton takes it as a correlation id. Raises BadVideoId."""
    if isinstance(video_id, str):
        good = 1 <= len(video_id.encode()) <= 128
    else:
        good = isinstance(video_id, int) and not isinstance(video_id, bool) and 1 <= video_id < 2**63
    if not good:
        raise BadVideoId(f"a video id must be an integer from 1 to 2**63 - 1 or a string of 1 to 128 bytes, got {str(video_id)[:140]!r}.")
    return video_id


def frame_tensors(frame: Frame) -> tuple[dict[str, np.ndarray], tuple[int, int] | None]:
    """The tensors of a frame, and its (height, width) where it is known. Raises BadFrame."""
    if isinstance(frame, bytes | bytearray | memoryview):
        if len(frame) == 0:
            raise BadFrame("the frame is empty. Send the bytes of a JPEG, PNG or WebP file.")
        return {"FRAME_ENCODED": bytes_tensor(bytes(frame))}, None
    if not isinstance(frame, np.ndarray):
        raise BadFrame(f"a frame must be a numpy array (H, W, 3) of uint8 or the bytes of a JPEG, PNG or WebP file, got {type(frame).__name__}.")
    if frame.dtype != np.uint8 or frame.ndim != 3 or frame.shape[2] != 3 or frame.size == 0:
        raise BadFrame(f"a frame must be RGB, uint8 (H, W, 3), got {frame.dtype} {frame.shape}.")
    return raw_tensors(frame), (frame.shape[0], frame.shape[1])


def raw_tensors(frame: NDArray[np.uint8]) -> dict[str, np.ndarray]:
    """FRAME and FRAME_SIZE of pixels (H, W, 3)."""
    return {"FRAME": frame.reshape(1, -1), "FRAME_SIZE": np.array([frame.shape[:2]], np.int32)}


def bytes_tensor(content: bytes) -> np.ndarray:
    """A BYTES tensor of one element, with batch dimension."""
    tensor = np.empty((1, 1), dtype=np.object_)
    tensor[0, 0] = content
    return tensor

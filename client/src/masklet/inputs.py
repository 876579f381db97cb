"""What users pass, checked as far as it is obviously wrong, and made into tensors."""

from __future__ import annotations

import operator
import secrets

import numpy as np
from numpy.typing import NDArray

from masklet.errors import BadFrame, BadVideoId
from masklet.pixels import FrameLike as FrameLike
from masklet.pixels import Sendable


def random_id() -> int:
    """An id that no other video has."""
    return secrets.randbelow(2**63 - 1) + 1


def checked_id(video_id: int | str) -> int | str:
    """The id, if Triton takes it as a correlation id. Raises BadVideoId."""
    if isinstance(video_id, str):
        good = 1 <= len(video_id.encode()) <= 128
        number: int | str = video_id
    else:
        number = _integer(video_id)
        good = 1 <= number < 2**63
    if not good:
        raise BadVideoId(f"a video id must be an integer from 1 to 2**63 - 1 or a string of 1 to 128 bytes, got {str(video_id)[:140]!r}.")
    return number


def _integer(value: object) -> int:
    """An integer of numpy or Python as a plain one; 0, which is no id, for what is none."""
    try:
        return 0 if isinstance(value, bool) else operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        return 0


def frame_tensors(frame: Sendable) -> tuple[dict[str, np.ndarray], tuple[int, int] | None]:
    """The tensors of a frame, and its (height, width) where it is known. Raises BadFrame."""
    if isinstance(frame, bytes | bytearray | memoryview):
        if len(frame) == 0:
            raise BadFrame("the frame is empty. Send the bytes of a JPEG, PNG or WebP file.")
        return {"FRAME_ENCODED": bytes_tensor(bytes(frame))}, None
    return raw_tensors(frame), (frame.shape[0], frame.shape[1])


def raw_tensors(frame: NDArray[np.uint8]) -> dict[str, np.ndarray]:
    """FRAME and FRAME_SIZE of pixels (H, W, 3)."""
    return {"FRAME": frame.reshape(1, -1), "FRAME_SIZE": np.array([frame.shape[:2]], np.int32)}


def bytes_tensor(content: bytes) -> np.ndarray:
    """A BYTES tensor of one element, with batch dimension."""
    tensor = np.empty((1, 1), dtype=np.object_)
    tensor[0, 0] = content
    return tensor

"""What a server answers, made of masks."""

from __future__ import annotations

import json
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from masklet import rle
from masklet.contract import TIMING_FIELDS
from masklet.mask_bytes import joined
from masklet.transport.protocol import Answer, Request
from masklet.wire import Options

_LOW = 8  # side of the low-resolution masks


def answer(
    request: Request,
    masks: Mapping[int, NDArray[np.bool_]],
    frame_index: int = 0,
    *,
    scores: Mapping[int, float] | None = None,
    snapshot: bytes = b"",
    draining: bool = False,
) -> Answer:
    """The answer to a request for a frame; with no masks to any other request.

    masks     bool (H, W) by object id, at the size of the frame. Boxes are theirs
    scores    by object id; 1 for those that are not there. Predicted IoUs are 1, logits 0
    snapshot  given where the request asks for one
    """
    options, shown, count = Options.parse(request.parameters), list(masks.values()), len(masks)
    return Answer(
        {
            "FRAME_INDEX": np.array([frame_index], np.int64),
            "OBJECT_IDS": np.array(list(masks), np.int64),
            **joined([_encoded(mask, options.masks) for mask in shown]),
            "BOXES": np.array([_box(mask) for mask in shown], np.float32).reshape(count, 4),
            "SCORES": np.array([(scores or {}).get(object_id, 1.0) for object_id in masks], np.float32),
            "IOUS": np.ones(count, np.float32),
            "LOGITS": np.zeros((count if options.logits else 0, _LOW, _LOW), np.float32),
            "SNAPSHOT": np.frombuffer(snapshot if options.snapshot else b"", np.uint8),
            "TIMING": np.zeros(len(TIMING_FIELDS), np.float32),
            "DRAINING": np.array([draining], np.uint8),
        }
    )


def _encoded(mask: NDArray[np.bool_], form: str) -> bytes:
    if form == "none":
        return b""
    return json.dumps(rle.encode(mask)).encode() if form == "rle" else np.packbits(mask).tobytes()


def _box(mask: NDArray[np.bool_]) -> tuple[int, int, int, int]:
    """x0, y0, x1, y1 in pixels, ends exclusive; zeros for an empty mask."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return (int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1) if len(rows) else (0, 0, 0, 0)

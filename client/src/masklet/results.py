"""What comes back for a frame."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from masklet import mask_bytes, rle
from masklet.contract import TIMING_FIELDS
from masklet.errors import ServerFault, UnknownObject
from masklet.wire import Options

Tensors = Mapping[str, np.ndarray]


@dataclass(frozen=True, eq=False)
class TrackedFrame:
    """The objects of one frame: N of them, in the order in which they were first prompted. Arrays other than `masks` are read-only.

    frame_index  index of the frame, counted since the video began
    object_ids   the N ids; an object is absent before its first prompt
    masks        bool (N, H, W), at the size of the frame. (0, 0, 0) where a frame sent as encoded bytes has no object: its size is not known
    boxes        float32 (N, 4): x0, y0, x1, y1 of each mask in pixels of the frame, ends exclusive; zeros for an empty mask
    scores       float32 (N,): object presence logit; above 0 the object is in the frame
    ious         float32 (N,): IoU that the model predicts for its mask, 0..1
    logits       float32 (N, L, L): low-resolution mask logits, if asked for
    snapshot     the state of the video after this frame, if asked for; `Tracker.open(state=...)` goes on from it
    timing       milliseconds that the server spent, by stage (`masklet.contract.TIMING_FIELDS`)
    draining     the server will stop and takes no new videos: take a snapshot and go on from it on another server
    """

    frame_index: int
    object_ids: tuple[int, ...]
    masks: NDArray[np.bool_]
    boxes: NDArray[np.float32]
    scores: NDArray[np.float32]
    ious: NDArray[np.float32]
    logits: NDArray[np.float32] | None
    snapshot: bytes | None
    timing: Mapping[str, float]
    draining: bool

    def mask(self, object_id: int) -> NDArray[np.bool_]:
        """The mask (H, W) of one object. Raises UnknownObject if it is not in this frame."""
        if object_id not in self.object_ids:
            raise UnknownObject(f"object {object_id} is not in frame {self.frame_index}, which has the objects {list(self.object_ids)}.")
        mask: NDArray[np.bool_] = self.masks[self.object_ids.index(object_id)]
        return mask


def token(tensors: Tensors) -> str:
    """The id of the request that these tensors answer, by the server's stages. Raises ServerFault where they do not say it."""
    try:
        text = tensors["TOKEN"]
        if text.dtype != np.uint8:
            raise ValueError(f"TOKEN is {text.dtype}")
        return text.tobytes().decode()
    except (KeyError, ValueError) as error:
        raise ServerFault(
            f"the answer does not say which request it belongs to ({error!r}): client and server are of different versions. Install the client "
            "of the server's version."
        ) from error


def read(tensors: Tensors, options: Options, size: tuple[int, int] | None) -> TrackedFrame:
    """The result in the output tensors of `tracker`, batch dimension removed.

    `options` are those of the request, `size` is (height, width) of the frame where it is known. Raises ServerFault for tensors that are
    not what this client expects.
    """
    try:
        ids = tuple(tensors["OBJECT_IDS"].tolist())
        parts = mask_bytes.separated(tensors)
        result = TrackedFrame(
            frame_index=int(tensors["FRAME_INDEX"][0]),
            object_ids=ids,
            masks=_masks(parts, options.masks, size),
            boxes=tensors["BOXES"],
            scores=tensors["SCORES"],
            ious=tensors["IOUS"],
            logits=tensors["LOGITS"] if options.logits else None,
            snapshot=tensors["SNAPSHOT"].tobytes() if options.snapshot else None,
            timing=dict(zip(TIMING_FIELDS, tensors["TIMING"].tolist(), strict=True)),
            draining=bool(tensors["DRAINING"][0]),
        )
    except (KeyError, ValueError, IndexError, TypeError) as error:
        raise ServerFault(f"the answer cannot be read ({error!r}). Are client and server of the same version?") from error
    counts = {"MASK_BYTES": len(parts), "BOXES": len(result.boxes), "SCORES": len(result.scores), "IOUS": len(result.ious)}
    if set(counts.values()) != {len(ids)}:
        raise ServerFault(f"the answer cannot be read: {len(ids)} objects, but {counts}. Are client and server of the same version?")
    return result


def _masks(masks: Sequence[np.ndarray], form: str, size: tuple[int, int] | None) -> NDArray[np.bool_]:
    if form == "none" or (len(masks) == 0 and size is None):
        return np.zeros((0, *(size or (0, 0))), dtype=np.bool_)
    if form == "bitmap" and size is not None:
        return _unpacked(masks, size)
    decoded = [rle.decode(json.loads(mask.tobytes()), size) for mask in masks]
    return np.stack(decoded) if decoded else np.zeros((0, *(size or (0, 0))), dtype=np.bool_)


def _unpacked(masks: Sequence[np.ndarray], size: tuple[int, int]) -> NDArray[np.bool_]:
    pixels = size[0] * size[1]
    made = np.empty((len(masks), *size), dtype=np.bool_)
    for target, bits in zip(made, masks, strict=True):
        if len(bits) != -(-pixels // 8):
            raise ValueError(f"a bitmap of {len(bits)} bytes for {size[0]} x {size[1]} pixels")
        target[...] = np.unpackbits(bits, count=pixels).reshape(size).view(np.bool_)
    return made

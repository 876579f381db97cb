"""What comes back for a frame."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib import import_module
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from masklet import mask_bytes
from masklet.contract import TIMING_FIELDS
from masklet.errors import BadParameter, ServerFault, UnknownObject
from masklet.masks import Masks, resized
from masklet.rle import Rle
from masklet.wire import Options

Tensors = Mapping[str, np.ndarray]
Label = Literal["live", "skipped", "stale", "replayed"]


@dataclass(frozen=True, eq=False)
class TrackedFrame:
    """The objects of one frame: N of them, in the order in which they were first prompted. Arrays other than `masks` are read-only.

    frame_index  index of the frame, counted since the video began
    object_ids   the N ids; an object is absent before its first prompt
    boxes        float32 (N, 4): x0, y0, x1, y1 of each mask in pixels of the frame, ends exclusive; zeros for an empty mask
    scores       float32 (N,): object presence logit; above 0 the object is in the frame
    ious         float32 (N,): IoU that the model predicts for its mask, 0..1
    logits       float32 (N, L, L): low-resolution mask logits, if asked for
    snapshot     the state of the video after this frame, if asked for; `Tracker.open(state=...)` goes on from it
    timing       milliseconds that the server spent, by stage (`masklet.contract.TIMING_FIELDS`)
    draining     the server will stop and takes no new videos: take a snapshot and go on from it on another server
    vanished     ids of the objects that were prompted on this frame and have no pixel in it: what is smaller than a cell of the model is lost
    cell         (height, width) of a cell of the model in pixels of the frame: one logit. None: not known
    label        of `Video.follow`: "live"; "skipped" if frames before it were; "stale" if it came too late; "replayed" if it is the second result of
                 its frame, after `Video.rewind`
    skipped      frames between this one and the one tracked before it that were not tracked
    age_s        seconds from when the frame came from its source to its result, where the source says when it came
    frame        what the caller passed to `track` or `track_many`, the very object
    tag          what the caller passed to `track` as tag
    """

    frame_index: int
    object_ids: tuple[int, ...]
    boxes: NDArray[np.float32]
    scores: NDArray[np.float32]
    ious: NDArray[np.float32]
    logits: NDArray[np.float32] | None
    snapshot: bytes | None = field(repr=False)  # megabytes, as a frame may be
    timing: Mapping[str, float]
    draining: bool
    _masks: Masks = field(repr=False)
    vanished: tuple[int, ...] = ()
    cell: tuple[float, float] | None = None
    label: Label = "live"
    skipped: int = 0
    age_s: float | None = None
    frame: Any = field(default=None, repr=False)
    tag: Any = None

    @property
    def masks(self) -> NDArray[np.bool_]:
        """bool (N, H, W), at the size of the frame; decoded when first looked at. (0, 0, 0) where a frame sent as encoded bytes has no object: its
        size is not known. Raises BadParameter where the frame was tracked with masks="none"."""
        return self._masks.arrays

    @property
    def rles(self) -> list[Rle]:
        """The masks as COCO run lengths, {"size": [height, width], "counts": text}; those of masks="rle" as they came. Raises as `masks`."""
        return self._masks.rles

    @property
    def areas(self) -> NDArray[np.int64]:
        """Pixels of each mask, int64 (N,); decodes nothing. Raises as `masks`."""
        return self._masks.areas

    @property
    def present(self) -> NDArray[np.bool_]:
        """bool (N,): whether the object is in the frame, by its score."""
        return self.scores > 0

    def mask(self, object_id: int) -> NDArray[np.bool_]:
        """The mask (H, W) of one object; only this one is decoded. Raises UnknownObject if it is not in this frame."""
        if object_id not in self.object_ids:
            raise UnknownObject(f"object {object_id} is not in frame {self.frame_index}, which has the objects {list(self.object_ids)}.")
        return self._masks.one(self.object_ids.index(object_id))

    def at_size(self, size: tuple[int, int]) -> TrackedFrame:
        """The same result with masks and boxes at another (height, width), such as that of the picture before it was scaled for the server.

        Each pixel is that of the mask at its centre. Logits stay as they are. Raises as `masks`, and BadParameter for a size without pixels.
        """
        height, width = map(int, size)
        if min(height, width) < 1:
            raise BadParameter(f"a size is (height, width) in pixels, each at least 1, got {tuple(size)}.")
        made = [resized(self._masks.one(index), (height, width)) for index in range(len(self.object_ids))]
        boxes = np.array([box for _, box in made], np.float32).reshape(-1, 4)
        cell = None
        if self.cell and self._masks.size:
            cell = (self.cell[0] * height / self._masks.size[0], self.cell[1] * width / self._masks.size[1])
        return replace(self, _masks=Masks.of([one for one, _ in made], (height, width)), boxes=boxes, cell=cell)

    def to_supervision(self) -> Any:
        """The objects that have pixels as `supervision.Detections`: xyxy, mask, confidence (predicted IoU), tracker_id (object id).

        They have no classes: annotators need `color_lookup=supervision.ColorLookup.TRACK`. Raises ImportError without supervision.
        """
        try:
            supervision = import_module("supervision")
        except ImportError as error:
            raise ImportError("to_supervision needs the package supervision: pip install supervision") from error
        shown = self._visible()
        return supervision.Detections(
            xyxy=self.boxes[shown],
            mask=np.array([self._masks.one(index) for index in shown]) if shown else None,
            confidence=self.ious[shown],
            tracker_id=np.array(self.object_ids, np.int64)[shown],
        )

    def to_coco(self, image_id: int | None = None, category_id: int = 1) -> list[dict[str, Any]]:
        """The objects that have pixels as results in COCO's format, ready for JSON; track_id is the object id.

        pycocotools' `loadRes` reads them, and adds area and bbox of each mask; it would take a bbox of ours for the area.

        image_id  of this frame; None: its index
        """
        image_id = self.frame_index if image_id is None else image_id
        return [
            {
                "image_id": image_id,
                "category_id": category_id,
                "track_id": self.object_ids[index],
                "segmentation": self.rles[index],
                "score": float(self.ious[index]),
            }
            for index in self._visible()
        ]

    def _visible(self) -> list[int]:
        """The places of the objects that have pixels."""
        return np.flatnonzero(self.boxes[:, 2] > self.boxes[:, 0]).tolist()


def together(parts: Sequence[TrackedFrame], last: TrackedFrame) -> TrackedFrame:
    """The result of a frame whose prompts went in several requests. The last answers for all objects but those that only the others prompted, where
    the frame was not tracked."""
    for part in reversed(parts):
        vanished = part.vanished + last.vanished
        if part.object_ids and not set(part.object_ids) & set(last.object_ids):
            last = replace(
                last,
                object_ids=part.object_ids + last.object_ids,
                boxes=np.concatenate([part.boxes, last.boxes]),
                scores=np.concatenate([part.scores, last.scores]),
                ious=np.concatenate([part.ious, last.ious]),
                logits=None if part.logits is None or last.logits is None else np.concatenate([part.logits, last.logits]),
                _masks=part._masks.joined(last._masks),
            )
        last = replace(last, vanished=vanished)
    return last


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


def read(tensors: Tensors, options: Options, size: tuple[int, int] | None, prompted: Collection[int] = ()) -> TrackedFrame:
    """The result in the output tensors of `tracker`, batch dimension removed.

    `options` are those of the request, `size` is (height, width) of the frame where it is known, `prompted` the objects that it prompts. Raises
    ServerFault for tensors that are not what this client expects.
    """
    try:
        ids = tuple(tensors["OBJECT_IDS"].tolist())
        parts = mask_bytes.separated(tensors)
        masks = Masks(options.masks, parts, size)
        shown = prompted if options.overlap == "allowed" else ()  # else another object may have taken all its pixels
        result = TrackedFrame(
            frame_index=int(tensors["FRAME_INDEX"][0]),
            object_ids=ids,
            boxes=tensors["BOXES"],
            scores=tensors["SCORES"],
            ious=tensors["IOUS"],
            logits=tensors["LOGITS"] if options.logits else None,
            snapshot=tensors["SNAPSHOT"].tobytes() if options.snapshot else None,
            timing=dict(zip(TIMING_FIELDS, tensors["TIMING"].tolist(), strict=True)),
            draining=bool(tensors["DRAINING"][0]),
            _masks=masks,
            vanished=tuple(one for one, (x0, _, x1, _) in zip(ids, tensors["BOXES"].tolist(), strict=True) if one in shown and x1 <= x0),
            cell=_cell(masks.size, tensors["LOGITS"].shape),
        )
    except (KeyError, ValueError, IndexError, TypeError) as error:
        raise ServerFault(f"the answer cannot be read ({error!r}). Are client and server of the same version?") from error
    counts = {"MASK_BYTES": len(parts), "BOXES": len(result.boxes), "SCORES": len(result.scores), "IOUS": len(result.ious)}
    if set(counts.values()) != {len(ids)}:
        raise ServerFault(f"the answer cannot be read: {len(ids)} objects, but {counts}. Are client and server of the same version?")
    return result


def _cell(size: tuple[int, int] | None, logits: tuple[int, ...]) -> tuple[float, float] | None:
    """Height and width of one logit in pixels of a frame of `size`, by the shape of LOGITS."""
    return (size[0] / logits[1], size[1] / logits[2]) if size and min(logits[1:]) > 0 else None

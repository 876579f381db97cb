"""How far two answers may lie apart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from masklet import TrackedFrame
from masklet.masks import Masks
from tests.golden.compare import EARLY, iou


def equal(one: TrackedFrame, other: TrackedFrame) -> bool:
    """Whether two answers have the same objects with the same bits."""
    arrays = ("masks", "boxes", "scores", "ious", "logits")
    return (one.frame_index, one.object_ids) == (other.frame_index, other.object_ids) and all(
        np.array_equal(getattr(one, name), getattr(other, name)) for name in arrays
    )


def only(result: TrackedFrame, object_id: int) -> TrackedFrame:
    """The part of one object."""
    row = result.object_ids.index(object_id)
    arrays = {name: getattr(result, name)[row : row + 1] for name in ("boxes", "scores", "ious", "logits")}
    return replace(result, object_ids=(object_id,), _masks=Masks.of([result.rles[row]], result.masks.shape[1:]), **arrays)


def all_equal(some: Sequence[TrackedFrame], others: Sequence[TrackedFrame]) -> bool:
    """Whether two videos got the same answers. A mistake of the test is a failure, too: nothing, or nothing but empty masks."""
    assert any(result.masks.any() for result in some)
    return len(some) == len(others) and all(equal(one, other) for one, other in zip(some, others, strict=True))


def assert_close(one: TrackedFrame, other: TrackedFrame) -> None:
    """The bars for early frames: float rounding in another grouping of objects explains so much and no more."""
    assert (one.frame_index, one.object_ids) == (other.frame_index, other.object_ids)
    for row in range(len(one.object_ids)):
        difference = np.abs(one.logits[row] - other.logits[row])
        place = f"frame {one.frame_index}, object {one.object_ids[row]}"
        assert iou(one.masks[row], other.masks[row]) >= EARLY.iou, place
        assert np.median(difference) < EARLY.median, place
        assert difference.max() < EARLY.maximum, place

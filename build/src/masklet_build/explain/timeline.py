"""The object over the frames of the recording: presence, predicted IoU, area, and agreement with the frame before, as recorded and as replayed."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from masklet.recording import RecordedAnswer
from masklet.results import TrackedFrame
from masklet_build.explain import findings
from masklet_build.explain.replay import Moment
from masklet_build.quality.measures import region_similarity

Mask = NDArray[np.bool_]


def timeline(moments: Iterable[Moment], object_id: int) -> list[tuple[Moment, findings.Moment]]:
    """All answers, in the order of their requests, each compared with the one on the frame that was answered before."""
    made: list[tuple[Moment, findings.Moment]] = []
    now: tuple[Mask | None, Mask | None] = (None, None)
    before, frame = now, None
    for one in moments:
        if one.recorded.frame_index != frame:
            before, frame = now, one.recorded.frame_index
        now = recorded, replayed = one.recorded_mask(object_id), None if one.replayed is None else one.replayed.mask(object_id)
        figures = None if one.replayed is None else _figures(one.replayed, object_id, replayed, before[1])
        found = findings.Moment(
            one.recorded.frame_index, one.prompted, _figures(one.recorded, object_id, recorded, before[0]), figures, _iou(recorded, replayed)
        )
        made.append((one, found))
    return made


def _figures(answer: RecordedAnswer | TrackedFrame, object_id: int, mask: Mask | None, before: Mask | None) -> findings.Figures:
    row = answer.object_ids.index(object_id)
    area = None if mask is None else int(np.count_nonzero(mask))
    same = _iou(mask, before) if area or (before is not None and before.any()) else None
    return findings.Figures(float(answer.scores[row]), float(answer.ious[row]), area, same)


def _iou(one: Mask | None, other: Mask | None) -> float | None:
    """None where one of them is not there, or frames have different sizes."""
    return None if one is None or other is None or one.shape != other.shape else float(region_similarity(one, other))

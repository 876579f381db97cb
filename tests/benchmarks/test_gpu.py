"""The GPU benchmark: what it says of answers that differ, and that its report has every figure."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("torch")

from benchmarks.gpu import LENGTHS, markdown, parity
from masklet import TrackedFrame

pytestmark = pytest.mark.torch


def frame(mask: np.ndarray, logit: float, score: float) -> TrackedFrame:
    return TrackedFrame(
        frame_index=0,
        object_ids=(1,),
        masks=mask[None],
        boxes=np.zeros((1, 4)),
        scores=np.array([score], np.float32),
        ious=np.ones(1),
        logits=np.full((1, 2, 2), logit),
        snapshot=None,
        timing={},
        draining=False,
    )


def test_parity_tells_how_far_masks_logits_and_presence_are_off() -> None:
    whole, half = np.ones((2, 2), bool), np.array([[True, True], [False, False]])
    wanted = [frame(whole, 1.0, 3.0), frame(whole, 1.0, 3.0)]
    got = [frame(whole, 1.0, 3.0), frame(half, 1.5, -3.0)]
    found = parity(got, wanted)
    assert found == {"mean_iou": 0.75, "least_iou": 0.5, "median_logit": 0.5, "largest_logit": 0.5, "same_presence": 0.5}


def test_the_report_has_every_figure() -> None:
    crossed = {length: {"to_device": 1000.0 + length, "to_host": 2000.0 + length} for length in LENGTHS}
    values = {"mean_iou": 0.9871, "least_iou": 0.9, "median_logit": 0.01, "largest_logit": 0.2, "same_presence": 1.0}
    variant = {"fps": {"server, bf16": {1: [10.0, 30.0, 20.0], 32: [400.0]}}, "parity": {"bf16": values}, "crossed": {"bf16": crossed}}
    text = markdown({"gpu": "NVIDIA X", "variants": {"nano": variant}})
    assert "| server, bf16 | 20.0 | 400.0 |" in text
    assert "| bf16 | 0.9871 | 0.9 | 0.01 | 0.2 | 1 |" in text
    assert f"| bf16 | to_host | {' | '.join(str(2000 + length) for length in LENGTHS)} |" in text

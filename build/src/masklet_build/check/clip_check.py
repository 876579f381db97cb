"""A whole clip through the server's models and these engines, beside what float32 answered: what reduced precision does to masks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from masklet import rle
from masklet.families import Variant
from masklet.tracker import Tracker
from masklet_build.export.bars import BARS
from masklet_build.export.fixtures.fixtures import Fixtures
from masklet_build.export.fixtures.scenario import Answered, Recorded, answered, play
from masklet_build.in_process import InProcess, Stages
from masklet_build.quality.measures import Masks, boundary_accuracy, region_similarity

# Mean IoU of masks: design's bar for reduced precision. In fp32 masks differ in single pixels of their outlines: a tenth of that.
LEAST_IOU = {"fp32": 0.999, "tf32": 0.99, "fp16": 0.99, "bf16": 0.99}
MOST_LOST = 0.3  # points of J&F, out of 100


@dataclass(frozen=True)
class ClipReport:
    """What became of a clip.

    mean_iou, least_iou   of masks with those of float32, over all objects and answers; 1 where both are empty
    flips                 answers that say "present" or "absent" where float32 said the other, near ties left out
    jf, jf_expected       J&F of the masks and of those of float32 against the true ones, out of 100
    error                 why it was not tracked to its end
    """

    precision: str
    frames: int
    objects: int
    mean_iou: float = 0.0
    least_iou: float = 0.0
    flips: int = 0
    jf: float = 0.0
    jf_expected: float = 0.0
    error: str | None = None

    @property
    def problems(self) -> list[str]:
        """What is wrong; nothing: within the bars."""
        if self.error:
            return [f"the clip was not tracked to its end: {self.error}"]
        found = []
        if not self.mean_iou >= LEAST_IOU[self.precision]:
            found.append(f"mean IoU {self.mean_iou:.4f} of masks with those of float32, wanted {LEAST_IOU[self.precision]}")
        if self.flips:
            found.append(f"{self.flips} answers say present instead of absent, or the other way round")
        if self.jf_expected - self.jf > MOST_LOST:
            found.append(f"J&F {self.jf:.1f} instead of {self.jf_expected:.1f}: more than {MOST_LOST} points lost")
        return found


def check_clip(variant: Variant, stages: Stages, fixtures: Fixtures, precision: str, objects_per_call: int) -> ClipReport:
    """Tracks the clip of the fixtures. `precision`: a key of BARS. An engine that fails is a finding, not an error."""
    clip = fixtures.clip
    empty = ClipReport(precision, len(clip.frames), len(clip.truth[0]))
    try:
        with Tracker("in this process", transport=InProcess(variant, stages, objects_per_call)) as tracker:
            answers = [answered(result) for result in play(tracker, clip)]
    except Exception as error:  # whatever engines raise
        return replace(empty, error=f"{type(error).__name__}: {error}")
    return _compared(empty, clip, answers)


def _compared(empty: ClipReport, clip: Recorded, answers: Sequence[Answered]) -> ClipReport:
    pairs = list(zip(answers, clip.answers, strict=True))
    ious = np.concatenate(
        [
            region_similarity(_decoded(wanted.masks), _decoded(got.masks)) if len(got.masks) == len(wanted.masks) else np.zeros(1)
            for got, wanted in pairs
        ]
    )
    return replace(
        empty,
        mean_iou=float(ious.mean()),
        least_iou=float(ious.min()),
        flips=sum(_flips(got, wanted, BARS[empty.precision].largest) for got, wanted in pairs),
        jf=_jf(clip, answers),
        jf_expected=_jf(clip, clip.answers),
    )


def _flips(got: Answered, wanted: Answered, near_tie: float) -> int:
    return sum((one > 0) != (other > 0) for one, other in zip(got.scores, wanted.scores, strict=False) if abs(other) > near_tie)


def _jf(clip: Recorded, answers: Sequence[Answered]) -> float:
    """Mean J&F of all objects and answers, out of 100."""
    values = []
    for step, answer in zip(clip.steps, answers, strict=True):
        truth, masks = _decoded(clip.truth[step.frame]), _decoded(answer.masks)
        if len(truth) != len(masks):
            return 0.0
        values += [
            (float(j) + boundary_accuracy(one, other)) / 2 for j, one, other in zip(region_similarity(truth, masks), truth, masks, strict=True)
        ]
    return 100 * float(np.mean(values))


def _decoded(masks: Sequence[rle.Rle]) -> Masks:
    return np.stack([rle.decode(mask) for mask in masks])

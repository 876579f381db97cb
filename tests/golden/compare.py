"""Compares answers with golden records, within the bars that float rounding allows.

Random networks are chaotic: noise of 1e-5 on one frame's features becomes up to 0.1 in a logit fifteen frames later, so later frames have wider
bars. An object whose recorded score is a near tie may fall to the other side; it is left out from there on, and counted.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np

from masklet.results import TrackedFrame
from tests.golden.replay import Request
from tests.golden.scenarios import Scenario

NEAR_TIE = 0.05  # absolute object score
MAX_FLIPS = 1  # near ties that may fall to the other side, per scenario


@dataclass(frozen=True)
class Bar:
    """What a record may differ by: mask IoU at least, and median and maximum of the absolute difference of low-resolution logits."""

    iou: float
    median: float
    maximum: float


EARLY, LATE = Bar(0.99, 0.1, 0.5), Bar(0.94, 0.3, 3.0)


@dataclass(frozen=True)
class Difference:
    """How one answer differs from its record. `same_sign`: both say that the object is there, or both that it is not; `present`: the record does."""

    key: str
    kind: str
    frame: int
    object_id: int
    iou: float
    median: float
    maximum: float
    same_sign: bool
    present: bool = True
    bar: Bar = EARLY

    @property
    def tracked(self) -> bool:
        """Whether this is a tracked frame, with the object there in the record: what a scenario is for."""
        return self.present and self.kind == "track"

    @property
    def within(self) -> bool:
        """Whether the bar holds."""
        return self.same_sign and self.iou >= self.bar.iou and self.median < self.bar.median and self.maximum < self.bar.maximum


@dataclass
class Comparison:
    """Differences of one scenario; `flipped` are objects that were left out after a near tie, `missing` records that got no answer.

    at_least    tracked records with the object present, below which nothing is proven
    """

    at_least: int = 1
    differences: list[Difference] = field(default_factory=list)
    flipped: set[int] = field(default_factory=set)
    missing: list[str] = field(default_factory=list)
    skipped: int = 0

    @property
    def failures(self) -> list[Difference]:
        """Records outside their bar."""
        return [difference for difference in self.differences if not difference.within]

    @property
    def present(self) -> int:
        """Tracked records that were compared and have the object; empty masks are easily equal."""
        return sum(difference.tracked for difference in self.differences)

    @property
    def within(self) -> bool:
        """Whether every bar holds, of enough tracked records with the object present."""
        return self.present >= self.at_least and not self.failures and not self.missing and len(self.flipped) <= MAX_FLIPS

    def add(self, scenario: Scenario, answers: Iterable[tuple[Request, TrackedFrame]]) -> None:
        """Compares the answers of one play, in order."""
        scores = {record.key: record.score for record in scenario.records}
        kinds = {record.key: record.kind for record in scenario.records}
        for request, answer in answers:
            for object_id, key in request.expected.items():
                if object_id in self.flipped:
                    self.skipped += 1
                elif object_id not in answer.object_ids:
                    self.missing.append(key)
                else:
                    difference = _difference(scenario, request.frame, object_id, key, kinds[key], scores[key], answer)
                    if not difference.same_sign and abs(scores[key] or 0.0) < NEAR_TIE:
                        self.flipped.add(object_id)
                    else:
                        self.differences.append(difference)


def _difference(scenario: Scenario, frame: int, object_id: int, key: str, kind: str, score: float | None, answer: TrackedFrame) -> Difference:
    row = answer.object_ids.index(object_id)
    assert answer.logits is not None
    recorded = scenario.low(key)
    logits = np.zeros(1) if recorded is None else np.abs(answer.logits[row][:: scenario.low_step, :: scenario.low_step] - recorded)
    return Difference(
        key,
        kind,
        frame,
        object_id,
        iou(answer.masks[row], scenario.mask(key)),
        float(np.median(logits)),
        float(logits.max()),
        score is None or bool(answer.scores[row] > 0) == (score > 0),
        scenario.present(key),
        EARLY if frame <= scenario.early_frames else LATE,
    )


def iou(one: np.ndarray, other: np.ndarray) -> float:
    """Intersection over union of two masks [H, W] bool; 1 if both are empty."""
    union = np.count_nonzero(one | other)
    return float(np.count_nonzero(one & other) / union) if union else 1.0

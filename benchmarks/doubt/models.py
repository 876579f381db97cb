"""What is compared: single signs and combinations of them, fitted on calibration clips, judged on others."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from benchmarks.doubt.figures import Flags, Values, auc, fitted, interval, precision_at, resampled
from benchmarks.doubt.signs import Rows

PLAIN = "predicted IoU"
SERVED, ALL = "all signs but candidates", "all signs"
JUDGED, GIVEN, EVERY = "object in view, or a mask given", "a mask given", "every answer"
JUMPS = ("area jump", "place jump", "overlap jump")
SIGNS = (PLAIN, "presence", "stability", "agreement of candidates", *JUMPS, "likeness to another object")
COMBINED: Mapping[str, tuple[str, ...]] = {
    **{sign: (sign,) for sign in SIGNS},
    "predicted IoU, presence": (PLAIN, "presence"),
    "predicted IoU, stability": (PLAIN, "stability"),
    "predicted IoU, agreement of candidates": (PLAIN, "agreement of candidates"),
    "predicted IoU, likeness to another object": (PLAIN, "likeness to another object"),
    SERVED: (PLAIN, "presence", "stability", *JUMPS),
    ALL: (PLAIN, "presence", "stability", "agreement of candidates", *JUMPS),
    "all signs, likeness to another object": SIGNS,
}
KEY = (PLAIN, "presence", SERVED, ALL)
RECALLS = (0.8, 0.9)
FREE_FRAMES = 4  # right frames before a loss that is to be foretold
RESAMPLES = 1000


def columns(rows: Rows, names: tuple[str, ...]) -> Values:
    """Signs of rows, (R, F), on scales on which a logistic regression can add them."""
    sure = np.clip(rows["iou"], 0.005, 0.995)
    known = {
        PLAIN: np.log(sure / (1 - sure)),
        "presence": np.clip(rows["score"], -15, 15),
        "stability": rows["stability"],
        "agreement of candidates": rows["agreement"],
        "area jump": rows["jump_area"],
        "place jump": np.log1p(rows["jump_place"]),
        "overlap jump": rows["jump_overlap"],
        "likeness to another object": rows["likeness"],
    }
    return np.column_stack([known[name] for name in names])


def populations(rows: Rows) -> dict[str, Flags]:
    """Which rows are judged, by name."""
    given, present = rows["area"] > 0, rows["truth"] > 0
    return {JUDGED: given | present, GIVEN: given, EVERY: np.ones(len(given), np.bool_)}


def chosen(rows: Rows, which: Flags) -> Rows:
    """Those rows alone."""
    return {name: column[which] for name, column in rows.items()}


def lost(rows: Rows, bound: float) -> Flags:
    """Rows whose mask has an IoU below `bound` with the true one; two empty masks agree, and any mask of an absent object has 0."""
    return np.asarray(rows["j"] < bound)


class Judged(NamedTuple):
    """Of one value on held-out rows. Intervals are the middle 95 % over clips."""

    auc: float
    within: tuple[float, float]
    ahead: float  # of predicted IoU alone
    ahead_within: tuple[float, float]
    precision: list[float]  # at RECALLS


def judged(calibration: Rows, test: Rows, bound: float, names: tuple[str, ...] = tuple(COMBINED)) -> dict[str, Judged]:
    """Fits each value on one set of rows and judges it on the other; predicted IoU alone must be the first."""
    wrong, draws = lost(test, bound), resampled(test["clip"], RESAMPLES)
    found, plain = {}, (0.0, [0.0])
    for name in names:
        model = fitted(columns(calibration, COMBINED[name]), lost(calibration, bound))
        values = model(columns(test, COMBINED[name]))
        area, areas = auc(values, wrong), [auc(values, wrong, weights) for weights in draws]
        if name == PLAIN:
            plain = area, areas
        ahead = [one - other for one, other in zip(areas, plain[1], strict=True)]
        precision = [precision_at(recall, values, wrong) for recall in RECALLS]
        found[name] = Judged(area, interval(areas), area - plain[0], interval(ahead), precision)
    return found


def flagged(test: Rows, bound: float, at: float) -> dict[str, tuple[float, tuple[float, float]]]:
    """What "predicted IoU below `at`" catches: share of lost rows and of all rows, and the share of the flagged ones that is lost."""
    flags, wrong = test["iou"] < at, lost(test, bound)

    def share(of: Flags, among: Flags) -> tuple[float, tuple[float, float]]:
        drawn = [float(np.sum(weights * (of & among)) / max(np.sum(weights * among), 1e-9)) for weights in resampled(test["clip"], RESAMPLES)]
        return float(np.mean(of[among])) if among.any() else float("nan"), interval(drawn)

    return {"caught": share(flags, wrong), "flagged": share(flags, np.ones_like(flags)), "right": share(wrong, flags)}


def losses(rows: Rows, bound: float) -> tuple[dict[int, Values], Flags]:
    """For foretelling: indices of the rows 0 to FREE_FRAMES - 1 frames before each loss that comes after as many right frames, by that number; and
    the right rows after which no loss comes within as many frames. A loss is judged where the object is in view, or a mask is given."""
    wrong, before, calm = lost(rows, bound), {lag: [] for lag in range(FREE_FRAMES)}, np.zeros(len(rows["j"]), np.bool_)
    for clip, number in np.unique(np.column_stack([rows["clip"], rows["object"]]), axis=0):
        line = np.flatnonzero((rows["clip"] == clip) & (rows["object"] == number))
        line = line[np.argsort(rows["frame"][line])]
        gone = wrong[line]
        for at in range(len(line)):
            if gone[at] and at >= FREE_FRAMES and not gone[at - FREE_FRAMES : at].any():
                for lag, places in before.items():
                    places.append(line[at - lag])
            calm[line[at]] = at + FREE_FRAMES < len(line) and not gone[at : at + FREE_FRAMES + 1].any()
    return {lag: np.array(places, np.intp) for lag, places in before.items()}, calm


def foretold(calibration: Rows, test: Rows, bound: float, name: str) -> dict[int, dict[str, Any]]:
    """By frames before the loss: area under the curve against calm rows, its interval, and how many losses there are."""
    values = fitted(columns(calibration, COMBINED[name]), lost(calibration, bound))(columns(test, COMBINED[name]))
    before, calm = losses(test, bound)
    found = {}
    for lag, places in before.items():
        which = np.concatenate([places, np.flatnonzero(calm)])
        wrong = np.arange(len(which)) < len(places)
        drawn = [auc(values[which], wrong, weights) for weights in resampled(test["clip"][which], RESAMPLES)]
        found[lag] = {"auc": auc(values[which], wrong), "within": interval(drawn), "losses": len(places)}
    return found

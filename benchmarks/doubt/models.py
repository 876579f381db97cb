"""What is compared: single signs and combinations of them, fitted on calibration clips, judged on others."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

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
RECALLS = (0.5, 0.8)
Places = NDArray[np.intp]

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


def chosen(rows: Rows, which: Flags | Places) -> Rows:
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
    return _compared(_values(calibration, test, bound, names), lost(test, bound), test["clip"])


def _values(calibration: Rows, test: Rows, bound: float, names: tuple[str, ...]) -> dict[str, Values]:
    """The chances that test rows are lost."""
    wrong = lost(calibration, bound)
    return {name: fitted(columns(calibration, COMBINED[name]), wrong)(columns(test, COMBINED[name])) for name in names}


def _compared(values: Mapping[str, Values], wrong: Flags, clips: Values) -> dict[str, Judged]:
    """Each of the values beside the first."""
    draws = resampled(clips, RESAMPLES)
    areas = {name: np.array([auc(each, wrong, weights) for weights in draws]) for name, each in values.items()}
    whole = {name: auc(each, wrong) for name, each in values.items()}
    first = next(iter(values))
    return {
        name: Judged(
            whole[name],
            interval(areas[name]),
            whole[name] - whole[first],
            interval(areas[name] - areas[first]),
            [precision_at(recall, each, wrong) for recall in RECALLS],
        )
        for name, each in values.items()
    }


def flagged(test: Rows, bound: float, at: float) -> dict[str, tuple[float, tuple[float, float]]]:
    """What "predicted IoU below `at`" catches: share of lost rows and of all rows, and the share of the flagged ones that is lost."""
    flags, wrong = test["iou"] < at, lost(test, bound)

    def share(of: Flags, among: Flags) -> tuple[float, tuple[float, float]]:
        drawn = [float(np.sum(weights * (of & among)) / max(np.sum(weights * among), 1e-9)) for weights in resampled(test["clip"], RESAMPLES)]
        return float(np.mean(of[among])) if among.any() else float("nan"), interval(drawn)

    return {"caught": share(flags, wrong), "flagged": share(flags, np.ones_like(flags)), "right": share(wrong, flags)}


def sure_and_lost(test: Rows, bound: float, at: float) -> list[int]:
    """Of each object, the masks that are lost though their predicted IoU is `at` or more; the most first."""
    which = (test["area"] > 0) & lost(test, bound) & (test["iou"] >= at)
    _, number = np.unique(np.column_stack([test["clip"], test["object"]]), axis=0, return_inverse=True)
    return sorted(np.bincount(number.ravel(), which).astype(int).tolist(), reverse=True)


def losses(rows: Rows, bound: float) -> tuple[dict[int, Places], Places]:
    """For foretelling, places of rows: 0 to FREE_FRAMES - 1 frames before each loss that comes after as many right frames, by that number; and right
    frames that as many right ones follow. Right: the object is in view, and not lost."""
    right, gone = (rows["truth"] > 0) & ~lost(rows, bound), populations(rows)[JUDGED] & lost(rows, bound)
    before, calm = [], []
    for clip, number in np.unique(np.column_stack([rows["clip"], rows["object"]]), axis=0):
        line = np.flatnonzero((rows["clip"] == clip) & (rows["object"] == number))
        line = line[np.argsort(rows["frame"][line])]
        for at in range(len(line)):
            if gone[line[at]] and at >= FREE_FRAMES and right[line[at - FREE_FRAMES : at]].all():
                before.append(line[at - np.arange(FREE_FRAMES)])
            if at + FREE_FRAMES < len(line) and right[line[at : at + FREE_FRAMES + 1]].all():
                calm.append(line[at])
    found = np.array(before, np.intp).reshape(-1, FREE_FRAMES)
    return {lag: found[:, lag] for lag in range(FREE_FRAMES)}, np.array(calm, np.intp)


def foretold(calibration: Rows, test: Rows, bound: float, names: tuple[str, ...]) -> dict[str, list[Judged]]:
    """How well each value, fitted as in `judged`, tells the frames before a loss from calm ones; by how many frames before."""
    before, calm = losses(test, bound)
    found: dict[str, list[Judged]] = {name: [] for name in names}
    for places in before.values():
        which = np.concatenate([places, calm])
        kept, wrong = chosen(test, which), np.arange(len(which)) < len(places)
        for name, one in _compared(_values(calibration, kept, bound, names), wrong, kept["clip"]).items():
            found[name].append(one)
    return found

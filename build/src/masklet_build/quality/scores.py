"""From masks to the numbers of a report: what is averaged over what, and what counts as away and as found again."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from masklet_build.quality.datasets import DatasetError, LabelledClip
from masklet_build.quality.measures import boundary_accuracy, region_similarity
from masklet_build.quality.methods import Answer

LEAST_ABSENCE = 8  # frames
LEAST_AREA = 0.002  # of the frame: what an object that comes back shows of itself before its masks are judged
FOUND_IOU = 0.5

Values = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class ClipScores:
    """What a method scored on a clip of T frames and N objects. Frames without true masks are NaN.

    similarity, accuracy  J and F, (N, T)
    presence              presence logits, (N, T)
    areas                 of the true masks as a share of the frame, (N, T)
    """

    name: str
    subsets: frozenset[str]
    object_ids: tuple[int, ...]
    similarity: Values
    accuracy: Values
    presence: Values
    areas: Values

    def objects(self) -> tuple[Values, Values]:
        """J and F of each object, (N,) each. The first and the last frame do not count (davis2017-evaluation davis2017/evaluation.py:92)."""
        return np.nanmean(self.similarity[:, 1:-1], axis=1), np.nanmean(self.accuracy[:, 1:-1], axis=1)


def score(clip: LabelledClip, answers: Iterable[Answer]) -> ClipScores:
    """Compares the answers to the frames of a clip with its true masks. Raises DatasetError where there is nothing to compare with."""
    shape = len(clip.object_ids), len(clip)
    similarity, accuracy, areas = np.full(shape, np.nan), np.full(shape, np.nan), np.full(shape, np.nan)
    presence = np.empty(shape)
    for index, answer in enumerate(answers):
        presence[:, index] = answer.scores
        truth = clip.truth(index)
        if truth is None:
            continue
        similarity[:, index] = region_similarity(truth, answer.masks)
        accuracy[:, index] = [boundary_accuracy(one, mask) for one, mask in zip(truth, answer.masks, strict=True)]
        areas[:, index] = truth.mean(axis=(1, 2))
    if np.isnan(similarity[:, 1:-1]).all():
        raise DatasetError(f"{clip.name} has no true masks between its first and its last frame, so there is nothing to score. Choose another split.")
    return ClipScores(clip.name, clip.subsets, clip.object_ids, similarity, accuracy, presence, areas)


class Mean(NamedTuple):
    """J and F averaged over objects, not over clips, as the official program does."""

    j: float
    f: float
    objects: int
    clips: int

    @property
    def jf(self) -> float:
        """J&F."""
        return (self.j + self.f) / 2


def mean(clips: Iterable[ClipScores]) -> Mean:
    """The mean over all objects of the clips; there must be one at least."""
    each = [clip.objects() for clip in clips]
    js, fs = (np.concatenate(values) for values in zip(*each, strict=True))
    return Mean(float(js.mean()), float(fs.mean()), len(js), len(each))


def subset_means(clips: Iterable[ClipScores]) -> dict[str, Mean]:
    """The means over the clips of each subset, by its name. A clip may be in several."""
    known = list(clips)
    names = sorted(set[str]().union(*(clip.subsets for clip in known)))
    return {name: mean(clip for clip in known if name in clip.subsets) for name in names}


class Presence(NamedTuple):
    """How often "away" was said, a presence logit of 0 or less, and how often it was so: a true mask that is empty. Counts object-frames."""

    said: int
    true: int
    both: int

    @property
    def precision(self) -> float | None:
        """How often it is right to say so. None: it was never said."""
        return self.both / self.said if self.said else None

    @property
    def recall(self) -> float | None:
        """How many absences are noticed. None: there was none."""
        return self.both / self.true if self.true else None


def presence(clips: Iterable[ClipScores]) -> Presence:
    """Over all tracked frames, which are those after the first."""
    said = true = both = 0
    for clip in clips:
        known = ~np.isnan(clip.areas[:, 1:])
        away, absent = (clip.presence[:, 1:] <= 0) & known, clip.areas[:, 1:] == 0
        said, true, both = said + int(away.sum()), true + int(absent.sum()), both + int((away & absent).sum())
    return Presence(said, true, both)


class Returns(NamedTuple):
    """How many objects came back after LEAST_ABSENCE frames or more, and how many of them were found again."""

    total: int
    found: int

    @property
    def rate(self) -> float | None:
        """None: none came back."""
        return self.found / self.total if self.total else None


def returns(clips: Iterable[ClipScores]) -> Returns:
    """An object is found again if its mask has an IoU of FOUND_IOU or more on at least half of its frames from its return on.

    These frames end where it goes away again or the clip ends, and only those count on which it shows LEAST_AREA or more; a return without such
    a frame is left out.
    """
    verdicts = [
        bool(np.mean(similarity[counted] >= FOUND_IOU) >= 0.5)
        for clip in clips
        for similarity, areas in zip(clip.similarity, clip.areas, strict=True)
        for visit in _visits(areas == 0)
        if len(counted := visit[areas[visit] >= LEAST_AREA])
    ]
    return Returns(len(verdicts), sum(verdicts))


def _visits(absent: NDArray[np.bool_]) -> Iterator[NDArray[np.intp]]:
    """The frames of each stay in view, in order, that follows an absence of LEAST_ABSENCE frames or more. `absent`: (T,)."""
    borders = np.flatnonzero(np.diff(absent)) + 1
    stays = np.split(np.arange(len(absent)), borders)
    for before, stay in pairwise(stays):
        if absent[before[0]] and len(before) >= LEAST_ABSENCE:
            yield stay

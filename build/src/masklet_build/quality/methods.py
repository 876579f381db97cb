"""Ways to get masks for every frame of a clip: by tracking, and by less, to see what tracking is worth."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from masklet.results import TrackedFrame
from masklet.tracker import Tracker
from masklet.video import Video
from masklet_build.clips import bounding_box, inner_point
from masklet_build.quality.datasets import LabelledClip
from masklet_build.quality.measures import Masks
from masklet_build.quality.overlap import without_overlap

PROMPTS = ("point", "box", "mask")
TRACKED, NO_MEMORY, PROMPTED_FRAME_ONLY, FROZEN = "tracked", "no memory", "prompted frame only", "frozen"

Prompt = dict[str, Any]  # of Video.prompt


@dataclass(frozen=True, eq=False)
class Answer:
    """What a method says of a frame.

    masks   (N, H, W) bool; each pixel belongs to one object at most, since labels of DAVIS cannot overlap
    raw     the masks as the server gave them
    scores  (N,) presence logits, above 0: in the frame
    """

    masks: Masks
    raw: Masks
    scores: NDArray[np.float32]


def prompts(kind: str, clip: LabelledClip) -> dict[int, Prompt]:
    """What a person would do on frame 0, by object: a click inside (kind "point"), a "box" around the object, or its "mask"."""
    truth = clip.truth(0)
    assert truth is not None
    makers: Mapping[str, Callable[[Masks], Prompt]] = {
        "point": lambda mask: {"points": [inner_point(mask)]},
        "box": lambda mask: {"box": bounding_box(mask)},
        "mask": lambda mask: {"mask": mask},
    }
    return {object_id: makers[kind](mask) for object_id, mask in zip(clip.object_ids, truth, strict=True)}


def tracked(tracker: Tracker, clip: LabelledClip, kind: str) -> Iterator[Answer]:
    """One video from the first frame to the last, prompted on the first."""
    with tracker.open() as video:
        _prompt(video, prompts(kind, clip))
        for frame in clip.frames():
            yield _answer(video.track(frame, logits=True))


def without_memory(tracker: Tracker, clip: LabelledClip, kind: str) -> Iterator[Answer]:
    """Every frame is the first one of a video of its own, with the prompts of frame 0: the network without any memory."""
    wanted = prompts(kind, clip)
    for frame in clip.frames():
        with tracker.open() as video:
            _prompt(video, wanted)
            yield _answer(video.track(frame, logits=True))


def from_prompted_frame_only(tracker: Tracker, clip: LabelledClip, kind: str) -> Iterator[Answer]:
    """The memory of the prompted frame stays, that of all tracked frames is forgotten: each frame goes on from a snapshot taken after frame 0."""
    frames = clip.frames()
    with tracker.open() as video:
        _prompt(video, prompts(kind, clip))
        first = video.track(next(frames), logits=True, snapshot=True)
    yield _answer(first)
    for index, frame in enumerate(frames, 1):
        with tracker.open(state=first.snapshot) as video:
            yield _answer(video.track(frame, frame_index=index, logits=True))


def frozen(clip: LabelledClip) -> Iterator[Answer]:
    """The baseline: the true mask of frame 0 on every frame. It needs no server."""
    truth = clip.truth(0)
    assert truth is not None
    for _ in range(len(clip)):
        yield Answer(truth, truth, np.ones(len(truth), np.float32))


METHODS = {TRACKED: tracked, NO_MEMORY: without_memory, PROMPTED_FRAME_ONLY: from_prompted_frame_only}


def _prompt(video: Video, wanted: Mapping[int, Prompt]) -> None:
    for object_id, prompt in wanted.items():
        video.prompt(object_id, **prompt)


def _answer(result: TrackedFrame) -> Answer:
    assert result.logits is not None
    return Answer(without_overlap(result.masks, result.logits), result.masks, result.scores)

"""What a clip is, and the clip of a split and an index."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from masklet_build.clips.draw import Drawn, draw, masks_at
from masklet_build.clips.looks import dress
from masklet_build.clips.scene import Scene, build
from masklet_build.clips.stories import LEAST_FRAMES, STORIES
from masklet_build.clips.subsets import happened, is_hidden_once

Split = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = get_args(Split)

MOST_OBJECTS = 12
LEAST_VISIBLE = 0.01  # of the frame's pixels, that every object shows on frame 0
_ATTEMPTS = 24
_CALM_AFTER = 8  # attempts; later scenes hold small objects, far from each other, and no extras, and tell no story that was not asked for


@dataclass(frozen=True)
class Clip:
    """A clip, where its objects are, and what happens in it.

    frames   (T, H, W, 3) uint8 RGB
    masks    (T, N, H, W) bool: the visible pixels of each object; where objects overlap, the one in front has the pixel
    subsets  which of SUBSETS it belongs to
    """

    frames: NDArray[np.uint8]
    masks: NDArray[np.bool_]
    subsets: frozenset[str]


def make_clip(
    split: Split, index: int, *, frames: int = 24, height: int = 256, width: int = 256, objects: int | None = None, story: str | None = None
) -> Clip:
    """The clip `index` of a split: equal arguments give equal bytes (with the same numpy and Pillow), no two splits share a scene.

    All `objects` (None: 2 to 4) are in view on frame 0, each with LEAST_VISIBLE of the frame at least. `story`, one of STORIES, is drawn where
    it is None. Raises ValueError for arguments that no clip can have.
    """
    _check(split, index, frames, height, width, objects, story)
    random = np.random.default_rng([SPLITS.index(split), index])
    count = objects or int(random.integers(2, 5))
    drawn_story = str(random.choice([name for name in STORIES if frames >= LEAST_FRAMES[name]]))
    for attempt in range(_ATTEMPTS):
        told = story or (drawn_story if attempt < _CALM_AFTER else "roam")
        scene = build(random, told, frames=frames, height=height, width=width, objects=count, calm=attempt >= _CALM_AFTER)
        if not _all_in_view(scene):
            continue
        drawn = draw(scene, dress(random, scene))
        subsets = happened(drawn, scene.has_look_alike)
        if _tells(told, drawn, subsets):
            return Clip(drawn.frames, drawn.masks, subsets)
    raise ValueError(
        f"no scene of {count} objects in {frames} frames of {height} x {width} pixels tells the story {told!r}, in {_ATTEMPTS} attempts. "
        "Ask for fewer objects, more frames, another story or another index."
    )


def _check(split: str, index: int, frames: int, height: int, width: int, objects: int | None, story: str | None) -> None:
    if split not in SPLITS:
        raise ValueError(f"split {split!r}: one of {', '.join(SPLITS)} is needed.")
    if index < 0:
        raise ValueError(f"index {index}: 0 or more is needed.")
    if min(height, width) < 32:
        raise ValueError(f"{height} x {width} pixels: both sides must be at least 32.")
    if objects is not None and not 1 <= objects <= MOST_OBJECTS:
        raise ValueError(f"{objects} objects: 1 to {MOST_OBJECTS} are possible.")
    if story is not None and story not in STORIES:
        raise ValueError(f"story {story!r}: one of {', '.join(STORIES)} is needed.")
    least = 1 if story is None else LEAST_FRAMES[story]
    if frames < least:
        raise ValueError(f"{frames} frames: {'a clip' if story is None else f'the story {story!r}'} needs at least {least}.")


def _all_in_view(scene: Scene) -> bool:
    first, _ = masks_at(scene, 0)
    return bool(first.mean(axis=(1, 2)).min() >= LEAST_VISIBLE)


def _tells(story: str, drawn: Drawn, subsets: frozenset[str]) -> bool:
    """Whether what the story promises can be seen."""
    if story == "return":
        return "return" in subsets
    return story != "hide" or is_hidden_once(drawn)

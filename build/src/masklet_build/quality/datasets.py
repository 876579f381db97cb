"""Clips with true masks: what they offer, and those that a program draws. `masklet_build.quality.davis` has folders in the format of DAVIS."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from masklet_build.clips import STORIES, Clip, make_clip
from masklet_build.quality.measures import Masks

Frame = NDArray[np.uint8]


class DatasetError(Exception):
    """The clips cannot be read; the message says what is missing and what to do."""


class LabelledClip(Protocol):
    """A clip and where its N objects are: those that can be seen on frame 0, where they are prompted. Its length is the number of frames."""

    @property
    def name(self) -> str:
        """Unique in its dataset."""

    @property
    def object_ids(self) -> tuple[int, ...]:
        """N ids."""

    @property
    def subsets(self) -> frozenset[str]:
        """Kinds of clips that are also scored apart, such as "occlusion"."""

    def __len__(self) -> int: ...

    def frames(self) -> Iterator[Frame]:
        """uint8 (H, W, 3) RGB, from the first one on; may be called again and again."""

    def truth(self, index: int) -> Masks | None:
        """The true masks (N, H, W) of a frame; None where nobody has drawn them, but never for frame 0."""


class Dataset(Protocol):
    """Clips by index."""

    @property
    def description(self) -> str:
        """What clips these are, for reports."""

    @property
    def lengths(self) -> tuple[int, ...]:
        """Frames of each clip."""

    def clip(self, index: int) -> LabelledClip:
        """Raises DatasetError."""


@dataclass(frozen=True)
class DrawnClip:
    """A clip of `masklet_build.clips`."""

    name: str
    made: Clip

    @property
    def object_ids(self) -> tuple[int, ...]:
        """1 to N: every object is in view on frame 0."""
        return tuple(range(1, self.made.masks.shape[1] + 1))

    @property
    def subsets(self) -> frozenset[str]:
        """Of the clip."""
        return self.made.subsets

    def __len__(self) -> int:
        return len(self.made.frames)

    def frames(self) -> Iterator[Frame]:
        """See LabelledClip."""
        return iter(self.made.frames)

    def truth(self, index: int) -> Masks:
        """See LabelledClip."""
        return self.made.masks[index]


@dataclass(frozen=True)
class DrawnClips:
    """Test clips that a program draws, the same on every machine and none of them seen in training; the stories take turns."""

    count: int = 30
    frames: int = 36
    side: int = 256

    @property
    def description(self) -> str:
        """See Dataset."""
        return f"{self.count} drawn test clips of {self.frames} frames, {self.side} x {self.side}"

    @property
    def lengths(self) -> tuple[int, ...]:
        """See Dataset."""
        return (self.frames,) * self.count

    def clip(self, index: int) -> DrawnClip:
        """See Dataset. Raises DatasetError where there are too few frames for a story."""
        story = STORIES[index % len(STORIES)]
        try:
            return DrawnClip(f"{index:02}-{story}", make_clip("test", index, frames=self.frames, height=self.side, width=self.side, story=story))
        except ValueError as error:
            raise DatasetError(f"test clip {index} cannot be drawn: {error}") from error

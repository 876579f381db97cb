"""Recordings as clips: the true masks are what was answered when they were recorded. So a complaint, or what was right once, becomes a test."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from masklet import rle
from masklet.errors import SourceError
from masklet.recording import Exchange, Recording, folders, read
from masklet.recording.frames import has_frame, picture
from masklet_build.quality.datasets import DatasetError, Frame
from masklet_build.quality.measures import Masks


@dataclass(frozen=True)
class RecordedClip:
    """The tracked frames of a recording, from the first that has objects with pixels. Those objects are its own.

    exchanges  of the frames, the last of each
    """

    name: str
    exchanges: Sequence[Exchange]
    object_ids: tuple[int, ...]
    subsets: frozenset[str] = frozenset()

    def __len__(self) -> int:
        return len(self.exchanges)

    def frames(self) -> Iterator[Frame]:
        """See LabelledClip."""
        return (picture(one.request) for one in self.exchanges)

    def truth(self, index: int) -> Masks | None:
        """See LabelledClip. None where the answer lacks one of the objects, or has no masks."""
        answer = self.exchanges[index].answer
        if answer is None or answer.rles is None or not {*self.object_ids} <= {*answer.object_ids}:
            return None
        return np.stack([rle.decode(answer.rles[answer.object_ids.index(one)]) for one in self.object_ids])


class RecordedClips:
    """The recordings in folders. Raises DatasetError.

    limit       how many of them, None: all
    max_frames  of each, from the beginning; None: all
    """

    def __init__(self, roots: Sequence[Path], *, limit: int | None = None, max_frames: int | None = None) -> None:
        try:
            found = [read(folder) for root in roots for folder in folders(root)]
        except SourceError as error:
            raise DatasetError(str(error)) from error
        clips = [clip for one in found if (clip := _clip(one, max_frames)) is not None]
        if not clips:
            raise DatasetError(f"no frame in {', '.join(map(str, roots))} has an object with pixels, so there is nothing to compare with.")
        self._clips = clips[:limit]

    @property
    def description(self) -> str:
        """See Dataset."""
        recordings = f"{len(self._clips)} recording" + ("s" if len(self._clips) > 1 else "")
        return f"{recordings}, {sum(self.lengths)} frames: what is called true is what was answered when they were recorded"

    @property
    def lengths(self) -> tuple[int, ...]:
        """See Dataset."""
        return tuple(map(len, self._clips))

    def clip(self, index: int) -> RecordedClip:
        """See Dataset."""
        return self._clips[index]


def _clip(recording: Recording, max_frames: int | None) -> RecordedClip | None:
    """None where no object ever has a pixel."""
    newest: dict[int, Exchange] = {}  # a frame may have been sent several times, with more prompts
    for one in recording.exchanges:
        if one.answer is not None and one.answer.frame_index >= 0 and one.answer.rles is not None and has_frame(one.request):
            newest[one.answer.frame_index] = one
    frames = [newest[index] for index in sorted(newest)]
    first = next((place for place, one in enumerate(frames) if _visible(one)), None)
    if first is None:
        return None
    return RecordedClip(recording.folder.resolve().name, frames[first:][:max_frames], _visible(frames[first]))


def _visible(one: Exchange) -> tuple[int, ...]:
    answer = one.answer
    if answer is None or answer.rles is None:
        return ()
    return tuple(object_id for object_id, mask in zip(answer.object_ids, answer.rles, strict=True) if rle.area(mask))

"""Recordings as clips."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from masklet import Tracker
from masklet.testing import MockTransport
from masklet_build.quality.datasets import DatasetError
from masklet_build.quality.recorded import RecordedClips
from tests.fakes.toy_tracker import ToyTracker, toy_mask

SIZE = (24, 32)


def frame(number: int) -> np.ndarray:
    return np.full((*SIZE, 3), number, np.uint8)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two frames without objects, then four with object 3, the second of them sent twice and the third without masks; object 5 comes on the last."""
    with Tracker("test:1", transport=MockTransport(ToyTracker()), record=tmp_path) as tracker, tracker.open() as video:
        video.track(frame(0))
        video.track(frame(1))
        video.prompt(3, points=[(3, 4)])
        video.track(frame(2))
        video.track(frame(3))
        video.track(frame(4), masks="none")
        video.prompt(5, points=[(3, 4)])
        video.track(frame(5))
    return tmp_path


def test_a_recording_is_a_clip_of_the_objects_of_its_first_frame_that_has_some(folder: Path) -> None:
    dataset = RecordedClips([folder])
    assert dataset.lengths == (3,)
    clip = dataset.clip(0)
    assert clip.object_ids == (3,)
    assert [int(one[0, 0, 0]) for one in clip.frames()] == [2, 3, 5]
    for place, index in enumerate((2, 3, 5)):
        assert np.array_equal(clip.truth(place), toy_mask(SIZE, index, 3)[None])
    assert "1 recording, 3 frames" in dataset.description


def test_the_first_frames_can_be_taken(folder: Path) -> None:
    assert RecordedClips([folder, folder], limit=1, max_frames=2).lengths == (2,)


def test_what_has_no_objects_or_is_no_recording_is_said(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="is no recording"):
        RecordedClips([tmp_path])
    with Tracker("test:1", transport=MockTransport(ToyTracker()), record=tmp_path) as tracker, tracker.open() as video:
        video.track(frame(0))
    with pytest.raises(DatasetError, match="has an object with pixels, so there is nothing to compare with"):
        RecordedClips([tmp_path])

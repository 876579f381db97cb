"""What the demo draws: a moving picture small enough for a page."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmarks.pictures import Pictures
from masklet import Tracker
from masklet.testing import MockTransport
from tests.fakes.toy_tracker import ToyTracker

SIZE = (96, 128)


def draw(out: Path, frames: int, stop: int | None = None) -> None:
    """So many frames of a toy's object through Pictures; RuntimeError at frame `stop`."""
    with Tracker("toy:1", transport=MockTransport(ToyTracker())) as tracker, tracker.open() as video, Pictures(out, 12.0, "a toy") as pictures:
        prompts = {1: {"points": [(5.0, 5.0)]}}
        video.prompt(1, **prompts[1])
        for index in range(frames):
            if index == stop:
                raise RuntimeError("half way")
            frame = np.full((*SIZE, 3), index, np.uint8)
            pictures.add(frame, video.track(frame), {} if index else prompts)


@pytest.mark.parametrize(("frames", "moving"), [(12, 6), (13, 7), (200, 60)])
def test_the_moving_picture_has_every_second_frame_of_the_beginning(frames, moving, tmp_path):
    draw(tmp_path, frames)
    with Image.open(tmp_path / "overlay.webp") as picture:
        assert (picture.n_frames, picture.width, picture.info["loop"]) == (moving, 360, 0)
        picture.seek(1)
        picture.load()
        assert picture.info["duration"] == round(2000 / 12)
    assert (tmp_path / "contact_sheet.png").exists()
    assert (tmp_path / "overlay.mp4").exists()


def test_what_failed_leaves_no_moving_picture(tmp_path):
    with pytest.raises(RuntimeError, match="half way"):
        draw(tmp_path, 12, stop=6)
    assert (tmp_path / "overlay.mp4").exists()
    assert not (tmp_path / "overlay.webp").exists()

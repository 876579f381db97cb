"""The server in a process of our own: however slow this machine is, no video is forgotten there. Time is a clock that the engines put forward."""

from __future__ import annotations

import time
from collections.abc import Mapping

import numpy as np
import pytest

from masklet import Tracker
from masklet_bank.videos import Videos
from masklet_build.export.precision.film import FRAMES, drawn_film, show
from masklet_build.in_process import InProcess
from tests.fakes.bank_driver import VARIANT, RecordingStages

SLOW_S = 3600.0  # that an image takes, in turn with one that takes no time: longer than any limit of the server


class SlowStages(RecordingStages):
    """Every second image takes an hour."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        super().__init__()
        self.now, self.images = 0.0, 0
        monkeypatch.setattr(Videos.__init__, "__defaults__", (lambda: self.now,))
        for place in ("time.monotonic", "masklet_bank.service.monotonic", "masklet_bank.stages.monotonic"):
            monkeypatch.setattr(place, lambda: self.now)

    def image_encoder(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        self.images += 1
        self.now += SLOW_S * (self.images % 2)
        return {"EMBEDDING": np.full((1, VARIANT.hidden, VARIANT.grid, VARIANT.grid), self.images, np.float32)}


def test_the_range_scan_comes_to_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    stages = SlowStages(monkeypatch)
    told: list[str] = []
    show(VARIANT, stages, drawn_film(VARIANT.image_size), told.append)
    assert told[-1] == f"range scan: frame {FRAMES} of {FRAMES}"
    assert stages.now == time.monotonic() >= FRAMES // 2 * SLOW_S


def test_a_video_that_waits_for_the_slow_frame_of_another_is_still_there(monkeypatch: pytest.MonkeyPatch) -> None:
    stages = SlowStages(monkeypatch)
    frame = np.zeros((VARIANT.image_size, VARIANT.image_size, 3), np.uint8)
    with Tracker("in this process", transport=InProcess(VARIANT, stages)) as tracker, tracker.open() as one, tracker.open() as other:
        for video in (one, other):
            video.prompt(1, points=[(4, 4)])
        assert one.track(frame).object_ids == (1,)
        for _ in range(3):
            other.track(frame)
        assert one.track(frame).object_ids == (1,)

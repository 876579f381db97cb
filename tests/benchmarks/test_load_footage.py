"""What the cameras see, and where they click."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from benchmarks.load.footage import Footage
from benchmarks.load.mix import Mix, VideoPlan
from masklet_build.clips import make_clip

PLAN = VideoPlan(size=(96, 64), fps=10, objects=2, frames=100, phase_s=0, corrected_at=40)


@pytest.fixture(scope="module")
def footage() -> Footage:
    return Footage(Mix(((96, 64),), (10.0,), (2,), (1.0, 2.0), 1.0))


def test_frames_are_files_of_the_size_of_the_plan_and_run_to_and_fro(footage: Footage) -> None:
    reel = footage.reel(PLAN)
    assert Image.open(io.BytesIO(reel.frame(0))).size == PLAN.size
    shown = [reel.shown(index) for index in range(100)]
    assert set(np.abs(np.diff(shown))) == {1}
    assert set(shown) == set(range(len(reel.frames)))


def test_all_objects_are_clicked_on_the_first_frame_one_again_half_way_and_none_otherwise(footage: Footage) -> None:
    reel = footage.reel(PLAN)
    assert [number for number, _ in reel.prompts(PLAN, 0)] == [1, 2]
    asked = {index: [number for number, _ in reel.prompts(PLAN, index)] for index in range(1, 100)}
    assert {index: numbers for index, numbers in asked.items() if numbers} == {40: [1]}


def test_clicks_are_on_their_objects(footage: Footage) -> None:
    masks = make_clip("test", 2, frames=16, height=64, width=96, objects=2, story="roam").masks
    reel = footage.reel(PLAN)
    for index in (0, 40):
        for number, (x, y) in reel.prompts(PLAN, index):
            assert masks[reel.shown(index), number - 1, y, x]

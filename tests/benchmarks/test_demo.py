"""The demo shows what it promises, and marks it rightly."""

from __future__ import annotations

import argparse
from dataclasses import dataclass

import numpy as np
import pytest

from benchmarks import demo
from masklet import families
from masklet.cli.failure import Failure
from masklet_build import nano
from masklet_build.quality.measures import boundary_accuracy


@pytest.fixture(scope="module")
def clip():
    return demo.own_clip()


@dataclass
class Answered:
    """What Marks reads of a tracked frame."""

    frame_index: int
    masks: np.ndarray


def test_its_clip_has_an_occlusion_and_an_object_that_leaves_and_returns(clip):
    assert {"occlusion", "return"} <= clip.subsets
    seen = clip.masks.any(axis=(2, 3))
    away = np.flatnonzero((~seen).sum(axis=0) >= 8)
    assert len(away) >= 1
    assert seen[0].all()
    assert seen[-1, away].all()


def test_true_masks_get_full_marks(clip):
    marks = demo.Marks(clip.masks)
    for index, masks in enumerate(clip.masks):
        marks.add(Answered(index, masks))
    assert str(marks) == "J&F 1.000 (J 1.000, F 1.000)"
    assert len(marks.given) == (len(clip.masks) - 2) * clip.masks.shape[1]  # the first and the last frame do not count


def test_marks_are_means_of_j_and_f(clip):
    marks = demo.Marks(clip.masks)
    moved = np.roll(clip.masks[1], 2, axis=2)
    marks.add(Answered(1, moved))
    both, either = (clip.masks[1] & moved).sum((1, 2)), (clip.masks[1] | moved).sum((1, 2))
    f = np.mean([boundary_accuracy(truth, mask) for truth, mask in zip(clip.masks[1], moved, strict=True)])
    assert np.mean(marks.given, axis=0) == pytest.approx([(both / either).mean(), f])


def test_a_video_of_the_user_gets_no_mark(clip):
    marks = demo.Marks(None)
    marks.add(Answered(1, clip.masks[1]))
    assert marks.given == []


def arguments(variant: str) -> argparse.Namespace:
    return argparse.Namespace(variant=variant, checkpoint=None)


def test_nano_comes_with_its_engines_and_others_need_their_weights():
    assert demo._engines(arguments("nano"), families.NANO, print) == nano.ENGINES
    with pytest.raises(Failure, match=r"efficienttam_ti_512x512\.pt: say where the file is by --checkpoint"):
        demo._engines(arguments("efficienttam_ti_512"), families.variant("efficienttam_ti_512"), print)

"""What a viewer sees of a camera: the newest answer that is there, never one of the future."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.simulated import Answered
from benchmarks.skipping import SERVER_S, Tracked, followed, newest_at, queued, streaming
from masklet_build.clips import make_clip


def test_the_newest_answer_is_one_that_is_there() -> None:
    answers = [Answered(0, 0.0, 0.1, 0.1), Answered(3, 0.1, 0.3, 0.1)]
    assert [newest_at(answers, now) for now in (0.05, 0.1, 0.29, 0.3, 9.0)] == [None, 0, 0, 3, 3]


def test_a_queue_tracks_every_frame_and_falls_behind() -> None:
    answers = queued(30, ratio=3)
    assert [one.index for one in answers] == list(range(30))
    assert [round(one.answered / SERVER_S) for one in answers] == list(range(1, 31))


@pytest.mark.parametrize("ratio", [2, 3, 6])
def test_following_tracks_what_the_server_can_and_the_newest_each_time(ratio: int) -> None:
    answers = followed(600, ratio)
    assert len(answers) == pytest.approx(600 / ratio, abs=3)
    assert all(one.answered - one.came <= 2 * SERVER_S + SERVER_S / ratio + 1e-9 for one in answers)


class Perfect(Tracked):
    """Every answer is the truth of its frame."""

    def masks(self, frames, *, jumping=True):
        return {frame: self.clip.masks[frame] for frame in frames}


class Moving:
    """An object that moves by its own width in every frame."""

    masks = np.zeros((12, 1, 16, 96), bool)
    for number in range(12):
        masks[number, 0, 4:12, 8 * number : 8 * number + 8] = True
    frames = masks


def test_perfect_masks_that_come_a_frame_late_miss_an_object_that_moves_by_its_width() -> None:
    late = [Answered(index, index * SERVER_S, (index + 1) * SERVER_S, SERVER_S) for index in range(12)]
    now, own, age = streaming(Perfect(None, Moving), late, ratio=1)
    assert own.tolist() == [1.0]
    assert age == 1
    # J is 0; of F, outlines that meet where one object ends and the other begins count as near.
    at_once = [Answered(index, index * SERVER_S, index * SERVER_S, SERVER_S) for index in range(12)]
    assert streaming(Perfect(None, Moving), at_once, ratio=1)[0].tolist() == [1.0]
    assert now[0] < 0.35


def test_drawn_objects_are_found_by_their_centres() -> None:
    from benchmarks.skipping import _centres

    clip = make_clip("test", 0, frames=3, height=48, width=64)
    centres = _centres(clip.masks)
    y, x = np.argwhere(clip.masks[0, 0]).mean(axis=0)
    assert centres[0, 0] == pytest.approx((x, y))

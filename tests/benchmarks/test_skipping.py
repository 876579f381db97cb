"""What a viewer sees of a camera: the newest answer that is there, never one of the future; and how figures of it are made."""

from __future__ import annotations

from types import SimpleNamespace
from xml.etree import ElementTree

import numpy as np
import pytest

from benchmarks.simulated import Answered, SimulatedClient, newest_at, queued
from benchmarks.skipping import (
    CAMERAS,
    FROM,
    SERVERS,
    STEPS,
    TRUTHS,
    Tracked,
    clients,
    every,
    late,
    mean_and_error,
    of_clip,
    speeds,
    streaming,
    summed_up,
)
from benchmarks.skipping_report import lines, plot
from masklet.connection.flow import Flow
from masklet_build.clips import make_clip


class Perfect(Tracked):
    """Every answer is the truth of its frame."""

    def _track(self, frames, indices):
        self.asked = frames, indices
        return ((frame, self.clip.masks[frame]) for frame in frames)


def moving(frames: int = 20):
    """A square of 8 pixels that moves by its own width in every frame."""
    masks = np.zeros((frames, 1, 16, 8 * frames), bool)
    for number in range(frames):
        masks[number, 0, 4:12, 8 * number : 8 * number + 8] = True
    return SimpleNamespace(masks=masks, frames=masks)


def test_the_newest_answer_is_one_that_is_there() -> None:
    answers = [Answered(0, 0.0, 0.1, 0.1), Answered(3, 0.1, 0.3, 0.1)]
    assert [newest_at(answers, now) for now in (0.05, 0.1, 0.29, 0.3, 9.0)] == [None, 0, 0, 3, 3]


def test_the_newest_frame_wins_and_answers_come_in_order() -> None:
    # Frame n comes at n tenths. The first is waited for; then the next one is sent when the one before has been worked on for 1/8 of a second.
    played = SimulatedClient(Flow(), 10, lambda _: 0.25, transport_s=0.0).play(14)
    assert [(one.index, round(one.answered, 9)) for one in played.answers[:6]] == [(0, 0.25), (2, 0.5), (3, 0.75), (6, 1.0), (8, 1.25), (11, 1.5)]
    assert played.most == 2


def test_a_queue_tracks_every_frame_and_falls_behind() -> None:
    answers = queued(8, 10, lambda _: 0.25, transport_s=0.0)
    assert [one.index for one in answers] == list(range(8))
    assert [one.answered for one in answers] == [0.25 * number for number in range(1, 9)]
    idle = queued(3, 10, lambda _: 0.03, transport_s=0.01)
    assert [one.answered for one in idle] == pytest.approx([0.05, 0.15, 0.25]), "a fast server waits for the camera"


@pytest.mark.parametrize("camera", CAMERAS)
@pytest.mark.parametrize("server", SERVERS)
def test_following_tracks_what_the_server_can_and_no_result_grows_old(camera: int, server: int) -> None:
    found = clients(600, camera, server, seed=0)
    follow, frames = found["follow"], len(found["queue"])
    assert len(follow) == pytest.approx(frames * min(1, server / camera), rel=0.12, abs=3)
    assert max(one.answered - one.came for one in follow) <= 2.2 / server + 1 / camera + 0.004
    assert [one.index for one in follow] == sorted({one.index for one in follow})


def test_perfect_masks_that_come_a_frame_late_miss_an_object_that_moves_by_its_width() -> None:
    delayed = [Answered(index, index / TRUTHS, (index + 1) / TRUTHS, 0.0) for index in range(20)]
    scores, age = streaming(Perfect(None, moving()), delayed, camera=TRUTHS)
    assert scores[0, 0, 0] == 0, "J beside now"
    assert scores[0, 1].tolist() == [1, 1], "beside its own frame"
    assert age == pytest.approx(1 / TRUTHS)
    assert late(moving(), 1)[0, 0] == 0
    at_once = [Answered(index, index / TRUTHS, index / TRUTHS, 0.0) for index in range(20)]
    assert streaming(Perfect(None, moving()), at_once, camera=TRUTHS)[0].min() == 1


def test_a_slow_camera_sees_a_part_of_the_frames_and_counts_those() -> None:
    tracked = Perfect(None, moving())
    seen = [Answered(index, index / 10, index / 10, 0.0) for index in range(7)]
    scores, age = streaming(tracked, seen, camera=10)
    assert tracked.asked == ((0, 3, 6, 9, 12, 15, 18), tuple(range(7)))
    # From frame 12 on: 12, 15 and 18 are shown when they are there, 13, 14, 16, 17 and 19 are not seen.
    assert FROM == 12
    assert scores[0, 0, 0] == pytest.approx(3 / 8)
    assert age * TRUTHS == pytest.approx((0 + 1 + 2 + 0 + 1 + 2 + 0 + 1) / 8)


def test_every_kth_frame_is_tracked_with_indices_that_jump_and_that_are_counted_on() -> None:
    class Asked(Perfect):
        def _track(self, frames, indices):
            asked.append((frames, indices))
            return super()._track(frames, indices)

    asked: list[tuple[tuple[int, ...], tuple[int, ...]]] = []
    scores = every(Asked(None, moving(9)), 4)
    assert asked == [(tuple(range(9)), tuple(range(9))), ((0, 4, 8), (0, 4, 8)), ((0, 4, 8), (0, 1, 2))]
    assert scores.shape == (1, 3, 2)
    assert scores.min() == 1


def test_objects_of_a_clip_are_one_draw() -> None:
    assert mean_and_error([np.array([1.0, 1.0]), np.array([0.0, 0.0])]) == {"mean": 0.5, "error": 0.5}
    assert mean_and_error([np.array([1.0]), np.array([0.0])]) == {"mean": 0.5, "error": 0.5}


def test_speeds_are_in_pixels_and_in_sizes_of_the_object() -> None:
    assert speeds(moving().masks).tolist() == [[8, 1]]


def test_figures_of_perfect_masks_lose_by_lateness_alone() -> None:
    clips = [make_clip("test", number, frames=25, height=48, width=64) for number in range(2)]
    found = summed_up([of_clip(Perfect(None, clip), number) for number, clip in enumerate(clips)])
    assert [one["step"] for one in found["steps"]] == list(STEPS)
    assert {one[way]["mean"] for one in found["steps"] for way in ("all", "jumping", "counted")} == {1.0}
    assert {one[name]["own"]["mean"] for one in found["live"] for name in ("follow", "queue")} == {1.0}
    fastest = next(one for one in found["live"] if (one["camera"], one["server"]) == (30, 60))
    for name in ("follow", "queue"):  # an answer comes before the next frame, so it is one frame old when it is looked at
        assert fastest[name]["now"]["mean"] == pytest.approx(found["late"][0]["mean"])
        assert fastest[name]["share"] == 1
    slow = next(one for one in found["live"] if (one["camera"], one["server"]) == (30, 5))
    assert slow["follow"]["now"]["mean"] < fastest["follow"]["now"]["mean"]
    assert slow["follow"]["age"] < slow["queue"]["age"]

    report = found | {"clips": 2, "frames": 25, "side": 48, "rate": TRUTHS, "frame_s": 0.03}
    tables = [line for line in lines(report) if line.startswith("|")]
    assert len(tables) == sum(2 + rows for rows in (len(STEPS), len(CAMERAS) * len(SERVERS), len(found["late"])))
    drawing = ElementTree.fromstring(plot(report))
    assert len(drawing.findall("{*}circle")) == 2 * len(STEPS) + 3 * len(SERVERS)

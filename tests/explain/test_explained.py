"""What is found out about the answers of a recording: which frames are remembered, what was taken, and what it was replayed to be."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")

from masklet import rle
from masklet.recording import Recording
from masklet_build.checkpoints.random_weights import random_checkpoint
from masklet_build.explain import findings
from masklet_build.explain.explain import Question, explained
from masklet_build.explain.replay import ExplainError, found
from masklet_build.models.stages import TorchStages
from masklet_build.models.variants import variant
from tests.explain.recordings import FRAMES, NAME, WEIGHTS, click, recorded, why

pytestmark = pytest.mark.torch


@pytest.fixture(scope="module")
def eleven(tmp_path_factory: pytest.TempPathFactory) -> list[Recording]:
    return recorded(tmp_path_factory.mktemp("eleven"), click)


def remembered(found: findings.Explanation) -> tuple[list[tuple[int, bool, int, int]], list[tuple[int, bool, int]]]:
    """Of the last answer: frame, conditioning, slot, distance of memories; frame, conditioning, distance of pointers."""
    attention = found.answers[-1].attention
    assert attention is not None
    memories = [(one.frame, one.conditioning, one.slot, one.distance) for one in attention.memories]
    return memories, [(one.frame, one.conditioning, one.distance) for one in attention.pointers]


def test_the_frames_are_those_that_the_official_rule_remembers(eleven: list[Recording]) -> None:
    """The prompted one in the last of seven slots, then the six before, and the pointers of all that are no farther than fifteen."""
    memories, pointers = remembered(why(eleven, 1, 9)[0])
    assert memories == [(0, True, 6, 9), *((9 - back, False, back - 1, back) for back in (6, 5, 4, 3, 2, 1))]
    assert pointers == [(0, True, 9), *((9 - back, False, back) for back in range(1, 9))]


def test_skipped_frames_leave_their_slots_empty(tmp_path: Path) -> None:
    memories, pointers = remembered(why(recorded(tmp_path, lambda video: click(video, (0, 1, 4, 5, 6))), 1, 6)[0])
    assert memories == [(0, True, 6, 6), (1, False, 4, 5), (4, False, 1, 2), (5, False, 0, 1)]
    assert pointers == [(0, True, 6), (5, False, 1), (4, False, 2), (1, False, 5)]


def test_backwards_the_frames_before_are_the_later_ones(tmp_path: Path) -> None:
    memories, _ = remembered(why(recorded(tmp_path, lambda video: click(video, (9, 8, 7), reverse=True)), 1, 7)[0])
    assert memories == [(9, True, 6, 2), (8, False, 0, 1)]


def test_objects_remember_their_own_frames(tmp_path: Path) -> None:
    def play(video: Any) -> None:
        click(video, range(2))
        video.prompt(2, points=[(40, 30)])
        click(video, range(2, 5))  # object 1 is prompted there again

    made = recorded(tmp_path, play)
    assert remembered(why(made, 2, 4)[0])[0] == [(2, True, 6, 2), (3, False, 0, 1)]
    assert remembered(why(made, 1, 4)[0])[0] == [(0, True, 6, 4), (2, True, 6, 2), (1, False, 2, 3), (3, False, 0, 1)]


def test_a_server_that_keeps_fewer_prompted_frames_is_replayed_as_one(tmp_path: Path) -> None:
    def play(video: Any) -> None:
        for number in (0, 2, 4):
            click(video, (number, number + 1))

    made, _ = why(recorded(tmp_path, play, conditioning=2), 1, 5)
    assert remembered(made)[0] == [(2, True, 6, 3), (4, True, 6, 1), (0, False, 4, 5), (1, False, 3, 4), (3, False, 1, 2)]
    assert [one.agreement for one in made.moments] == [1.0] * 6


def test_the_same_network_gives_the_same_answers_again(eleven: list[Recording]) -> None:
    made, _ = why(eleven, 1, 9)
    assert made.warnings == []
    assert [one.frame for one in made.moments] == list(range(12))
    assert [one.prompted for one in made.moments] == [True] + [False] * 11
    for one in made.moments[:10]:
        assert (one.replayed, one.agreement) == (one.recorded, 1.0)
    assert [(one.replayed, one.agreement) for one in made.moments[10:]] == [(None, None)] * 2
    answers = [exchange.answer for exchange in eleven[0].exchanges if exchange.answer and exchange.answer.object_ids]
    assert [one.recorded.presence for one in made.moments] == [float(answer.scores[0]) for answer in answers]
    assert [one.recorded.predicted_iou for one in made.moments] == [float(answer.ious[0]) for answer in answers]


def test_the_taken_candidate_is_the_answer(eleven: list[Recording]) -> None:
    (answer,) = why(eleven, 1, 9)[0].answers
    assert answer.choice is not None
    (taken,) = [one for one in answer.choice.candidates if one.taken]
    assert (taken.area, taken.iou_with_taken) == (answer.replayed.area, 1.0)
    assert taken.predicted_iou == pytest.approx(answer.replayed.predicted_iou, abs=1e-6)
    assert (answer.kind, answer.agreement, answer.choice.best_of_three) == ("tracked", 1.0, True)
    assert taken.predicted_iou == max(one.predicted_iou for one in answer.choice.candidates[1:])


def test_area_and_agreement_with_the_frame_before_are_those_of_the_masks(eleven: list[Recording]) -> None:
    masks = [rle.decode(exchange.answer.rles[0]) for exchange in eleven[0].exchanges if exchange.answer and exchange.answer.rles]
    moments = why(eleven, 1, 5)[0].moments
    assert [one.recorded.area for one in moments] == [int(mask.sum()) for mask in masks]
    expected = [float((one & other).sum() / (one | other).sum()) for one, other in pairwise(masks)]
    assert [one.recorded.iou_before for one in moments] == [None, *map(pytest.approx, expected)]


@pytest.mark.parametrize("name", [NAME, "sam2.1_t@64"])
def test_a_corrected_frame_has_two_answers(name: str, tmp_path: Path) -> None:
    def play(video: Any) -> None:
        click(video, range(4))
        video.prompt(1, points=[(30, 30)])
        video.track(FRAMES[3], refine=True)
        click(video, (4,))

    first, second = why(recorded(tmp_path, play, name), 1, 3, name)[0].answers
    reads = variant(name).family.corrections_read_memory
    assert (first.kind, second.kind) == ("tracked", "corrected" if reads else "prompted")
    assert first.attention is not None
    assert (second.attention is not None) == reads
    assert second.request == first.request + 1


def test_a_frame_that_was_prompted_ahead_repeats_its_answer(tmp_path: Path) -> None:
    def play(video: Any) -> None:
        video.prompt(1, points=[(20, 20)])
        video.track(FRAMES[0], track=False)
        video.track(FRAMES[0], frame_index=0)

    first, second = why(recorded(tmp_path, play), 1, 0)[0].answers
    assert (first.kind, second.kind) == ("prompted", "repeated")
    assert first.attention is second.attention is second.choice is None


def test_a_mask_of_the_user_has_no_candidates(tmp_path: Path) -> None:
    def masked(video: Any) -> None:
        video.prompt(1, mask=np.pad(np.ones((20, 20), np.bool_), ((10, 18), (10, 34))))
        video.track(FRAMES[0])

    (answer,) = why(recorded(tmp_path, masked), 1, 0)[0].answers
    assert (answer.kind, answer.choice, answer.attention) == ("prompted", None, None)
    assert "The prompt is a mask" in answer.told[-1]


def test_an_absent_object_shows_what_would_have_been_taken(tmp_path: Path) -> None:
    made = variant(NAME)
    state = random_checkpoint(made, seed=1)
    state["sam_mask_decoder.pred_obj_score_head.layers.2.bias"] -= 100
    stages = TorchStages(state, made)
    recordings = recorded(tmp_path, lambda video: click(video, range(3)), stages=stages)
    made_of_it, _ = explained(found(recordings, 1, 2, None), Question(1, 2), made, stages, WEIGHTS, lambda line: None)
    (answer,) = made_of_it.answers
    assert (answer.replayed.area, answer.replayed.iou_before) == (0, None)
    assert answer.choice is not None
    assert all(one.area > 0 for one in answer.choice.candidates)
    assert "counts as absent" in answer.told[-1]


def test_the_attention_of_one_place_is_that_of_the_point(eleven: list[Recording]) -> None:
    found, _ = why(eleven, 1, 9, point=(63.0, 0.0))
    attention = found.answers[0].attention
    assert attention is not None
    assert (attention.cells, attention.places, attention.queries) == (1, 16, "the place at 63,0")
    assert sum(one.share for one in (*attention.memories, *attention.pointers)) == pytest.approx(1)
    with pytest.raises(ExplainError, match=r"the point 64,0 is outside the frame, which is 64 x 48 pixels \(width x height\)"):
        why(eleven, 1, 9, point=(64.0, 0.0))


def test_a_video_that_went_on_from_a_snapshot_is_replayed_from_it(tmp_path: Path) -> None:
    states = []

    def first(video: Any) -> None:
        click(video, range(4))
        states.append(video.snapshot())

    def second(video: Any) -> None:
        for number in (4, 5):
            video.track(FRAMES[number])

    said = {"checkpoint_sha256": WEIGHTS["sha256"], "precision": "fp32"}  # what snapshots are only restored by
    recorded(tmp_path / "first", first, **said)
    found, page = why(recorded(tmp_path / "second", second, state=states[0], **said), 1, 5)
    assert [one.agreement for one in found.moments] == [1.0, 1.0]
    assert remembered(found)[0][0] == (0, True, 6, 5)
    assert page.count("The recording begins after this frame") == 4, "frames 0 to 3"

"""Signs of a lost object: computed right on small masks, and judged by figures that a plain count confirms."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import product

import numpy as np
import pytest

from benchmarks.doubt import figures, models, signs


def box(top: int, left: int, height: int, width: int, side: int = 12) -> np.ndarray:
    made = np.zeros((side, side), np.bool_)
    made[top : top + height, left : left + width] = True
    return made


EMPTY = box(0, 0, 0, 0)


def test_stability_is_the_share_of_the_wider_mask_that_a_higher_threshold_leaves() -> None:
    logits = np.full((3, 4, 4), -9, np.float32)
    logits[0, 0] = [3, 1.5, 0.5, -0.5]  # above 1: two; above -1: four
    logits[1, 0] = [1, 1, -1, -9]  # the bounds themselves are not above
    assert signs.stability(logits).tolist() == [2 / 4, 0 / 2, 1.0]


def test_candidates_agree_by_the_mean_of_their_pairs() -> None:
    shown = np.stack([[box(0, 0, 2, 4), box(0, 0, 2, 2), box(6, 6, 2, 2)], [EMPTY, EMPTY, EMPTY]])
    logits = np.where(shown, 4, -4).astype(np.float32)
    assert signs.agreement(logits.reshape(2, 3, -1)).tolist() == pytest.approx([(4 / 8 + 0 + 0) / 3, 1])


def test_jumps_are_those_of_area_place_and_overlap() -> None:
    before = np.stack([box(2, 2, 2, 2), box(0, 0, 3, 3), EMPTY, box(0, 0, 1, 3), box(0, 0, 2, 2)])
    masks = np.stack([box(2, 5, 2, 2), box(0, 0, 3, 3), EMPTY, EMPTY, box(0, 0, 4, 4)])
    area, place, overlap = signs.jumps(masks, before)
    assert area.tolist() == pytest.approx([0, 0, 0, math.log(4), math.log(17 / 5)])
    assert place.tolist() == pytest.approx([3 / 2, 0, 0, 0, math.sqrt(2) / 2])  # three columns, or one down and one right; a side of two
    assert overlap.tolist() == [1, 0, 0, 1, 3 / 4]


def test_likeness_is_to_the_nearest_other_object_and_an_empty_mask_is_like_none() -> None:
    masks = np.stack([box(0, 0, 2, 4), box(0, 2, 2, 4), EMPTY, EMPTY])
    assert signs.likeness(masks).tolist() == pytest.approx([4 / 12, 4 / 12, 0, 0])
    assert signs.likeness(masks[:1]).tolist() == [0]


def counted(values: np.ndarray, wrong: np.ndarray, weights: np.ndarray) -> float:
    """The area, by all pairs."""
    pairs = [
        (weights[one] * weights[other], (values[one] > values[other]) + 0.5 * (values[one] == values[other]))
        for one, other in product(np.flatnonzero(wrong), np.flatnonzero(~wrong))
    ]
    return sum(weight * won for weight, won in pairs) / sum(weight for weight, _ in pairs)


@pytest.mark.parametrize("seed", range(5))
def test_the_area_under_the_curve_is_that_of_all_pairs_with_ties_and_weights(seed: int) -> None:
    random = np.random.default_rng(seed)
    values, wrong, weights = random.integers(0, 6, 40) / 5, random.random(40) < 0.3, random.integers(0, 3, 40).astype(float)
    assert figures.auc(values, wrong) == pytest.approx(counted(values, wrong, np.ones(40)))
    assert figures.auc(values, wrong, weights) == pytest.approx(counted(values, wrong, weights))
    twice = np.repeat(np.arange(40), weights.astype(int))
    assert figures.auc(values, wrong, weights) == pytest.approx(figures.auc(values[twice], wrong[twice]))


def test_where_one_kind_is_missing_there_is_no_area() -> None:
    assert math.isnan(figures.auc(np.arange(3.0), np.ones(3, bool)))
    assert math.isnan(figures.precision_at(0.8, np.arange(3.0), np.zeros(3, bool)))


def test_precision_is_that_of_the_highest_bound_that_reaches_the_recall() -> None:
    values, wrong = np.array([9, 8, 7, 7, 6, 1.0]), np.array([1, 0, 1, 0, 1, 0], bool)
    assert figures.precision_at(1 / 3, values, wrong) == 1
    assert figures.precision_at(2 / 3, values, wrong) == 2 / 4  # equal values are flagged together
    assert figures.precision_at(1, values, wrong) == 3 / 5
    assert figures.precision_at(1 / 3, values, wrong, np.array([1, 3, 4, 0, 1, 1.0])) == 5 / 8  # of 1 + 3 + 4 rows


def test_the_regression_finds_the_chances_that_made_the_rows() -> None:
    random = np.random.default_rng(1)
    columns = random.normal(size=(20_000, 2)) * [1, 5] + [0, 3]
    chance = 1 / (1 + np.exp(-(-1 + 1.5 * columns[:, 0] - 0.2 * columns[:, 1])))
    model = figures.fitted(columns, random.random(20_000) < chance)
    assert model.weights / model.spread == pytest.approx([1.5, -0.2], abs=0.08)
    assert np.abs(model(columns) - chance).max() < 0.03


def test_a_bootstrap_takes_whole_clips_and_as_many_as_there_are() -> None:
    clips = np.array([0, 0, 0, 1, 1, 2])
    for weights in figures.resampled(clips, 50):
        assert weights[0] == weights[1] == weights[2]
        assert weights[3] == weights[4]
        assert weights[0] + weights[3] + weights[5] == 3
    assert len({tuple(weights) for weights in figures.resampled(clips, 50)}) > 3


def rows(**columns: Sequence[float] | np.ndarray) -> signs.Rows:
    return {name: np.array(values, np.float64) for name, values in columns.items()}


def test_an_absent_object_is_lost_where_it_has_a_mask_and_no_row_to_judge_where_it_has_none() -> None:
    made = rows(truth=[9, 9, 0, 0, 9], area=[9, 9, 9, 0, 0], j=[0.5, 0.4, 0, 1, 0])
    assert models.lost(made, 0.5).tolist() == [False, True, True, False, True]
    kinds = models.populations(made)
    assert kinds[models.JUDGED].tolist() == [True, True, True, False, True]
    assert kinds[models.GIVEN].tolist() == [True, True, True, False, False]
    assert kinds[models.EVERY].all()


def test_a_loss_counts_after_four_right_frames_and_calm_is_what_four_right_ones_follow() -> None:
    j = [1, 1, 1, 1, 0, 0, 1, 0, 1, 1, 1, 1, 1, 1]
    made = rows(clip=[3] * 14, object=[1] * 14, frame=range(1, 15), j=j, truth=[9] * 14, area=[9] * 14)
    order = np.random.default_rng(0).permutation(14)  # rows come in any order
    before, calm = models.losses({name: column[order] for name, column in made.items()}, 0.5)
    assert {lag: made["frame"][order[places]].tolist() for lag, places in before.items()} == {0: [5], 1: [4], 2: [3], 3: [2]}
    assert sorted(made["frame"][order[calm]].tolist()) == [9, 10]


def test_an_object_that_was_away_is_not_lost_from_a_right_frame() -> None:
    made = rows(clip=[0] * 6, object=[1] * 6, frame=range(6), j=[1, 1, 1, 1, 0, 1], truth=[9, 9, 9, 0, 9, 9], area=[9, 9, 9, 0, 9, 9])
    before, calm = models.losses(made, 0.5)
    assert (before[0].tolist(), calm.tolist()) == ([], [])
    before, _ = models.losses({**made, "truth": np.full(6, 9)}, 0.5)
    assert before[0].tolist() == [4]


def test_the_share_that_a_bound_catches_is_of_lost_rows() -> None:
    made = rows(clip=[0, 0, 1, 1], iou=[0.2, 0.9, 0.4, 0.1], j=[0.1, 0.2, 0.9, 0.9])
    found = models.flagged(made, 0.5, 0.5)
    assert {name: value for name, (value, _) in found.items()} == {"caught": 1 / 2, "flagged": 3 / 4, "right": 1 / 3}


def test_lost_masks_that_the_model_is_sure_of_are_counted_by_object() -> None:
    made = rows(clip=[0, 0, 0, 1, 1, 1], object=[1, 1, 2, 1, 1, 1], iou=[0.9, 0.4, 0.9, 0.5, 0.6, 0.9], j=[0, 0, 1, 0, 0, 0], area=[9, 9, 9, 9, 9, 0])
    assert models.sure_and_lost(made, 0.5, 0.5) == [2, 1, 0]


def test_a_sign_that_knows_is_ahead_of_a_predicted_iou_that_guesses() -> None:
    random = np.random.default_rng(0)
    j = random.random(400)
    others = dict.fromkeys(("agreement", "jump_area", "jump_place", "jump_overlap", "likeness"), [0] * 400)
    made = rows(j=j, clip=np.arange(400) // 20, iou=random.random(400), stability=j, score=random.random(400), **others)
    found = models.judged(made, made, 0.5, (models.PLAIN, "predicted IoU, stability"))
    plain, joined = found.values()
    assert plain.within[0] < 0.5 < plain.within[1]
    assert (plain.ahead, plain.ahead_within) == (0, (0, 0))
    assert joined.auc > 0.99
    assert joined.ahead_within[0] > 0.3


@pytest.mark.torch
def test_rows_of_a_clip_are_what_its_answers_say_and_watching_changes_none() -> None:
    torch = pytest.importorskip("torch")
    from benchmarks.doubt.collect import Watched, tracked
    from masklet.families import NANO
    from masklet.tracker import Tracker
    from masklet_build.checkpoints.loading import load_checkpoint
    from masklet_build.clips import make_clip
    from masklet_build.in_process import InProcess
    from masklet_build.models.stages import TorchStages
    from masklet_build.nano import CHECKPOINT
    from masklet_build.quality.datasets import DrawnClip
    from masklet_build.quality.methods import prompts

    torch.set_num_threads(1)
    plain = TorchStages(load_checkpoint(CHECKPOINT, NANO), NANO)
    watched = Watched(plain.stages["mask_decoder"])
    clip = DrawnClip("one", make_clip("test", 0, frames=3, objects=2, story="roam"))
    found = tracked(clip, "box", plain.replaced({"mask_decoder": watched}), watched)
    with Tracker("in this process", transport=InProcess(NANO, plain)) as tracker, tracker.open() as video:
        for object_id, prompt in prompts("box", clip).items():
            video.prompt(object_id, **prompt)
        first, *results = [video.track(frame) for frame in clip.frames()]
    assert found["iou"].tolist() == [value for one in results for value in one.ious.tolist()]
    assert found["score"].tolist() == [value for one in results for value in one.scores.tolist()]
    assert (found["frame"].tolist(), found["object"].tolist()) == ([1, 1, 2, 2], [1, 2, 1, 2])
    both = [clip.truth(index) & one.masks for index, one in enumerate(results, 1)]
    either = [clip.truth(index) | one.masks for index, one in enumerate(results, 1)]
    assert found["j"].tolist() == pytest.approx(
        [x.sum() / y.sum() for one, other in zip(both, either, strict=True) for x, y in zip(one, other, strict=True)]
    )
    overlaps = [(x & y).sum() / (x | y).sum() for x, y in zip(results[0].masks, first.masks, strict=True)]
    assert found["jump_overlap"][:2].tolist() == pytest.approx([1 - value for value in overlaps])


@pytest.mark.torch
def test_one_of_the_candidates_is_the_mask_that_tracking_gives() -> None:
    torch = pytest.importorskip("torch")
    from benchmarks.doubt.collect import Watched
    from masklet.contract import KIND_TRACKED
    from masklet.families import NANO
    from masklet_build.checkpoints.loading import load_checkpoint
    from masklet_build.models.sam.mask_decoder import in_image_order
    from masklet_build.models.samples import Sizes, sample_inputs
    from masklet_build.models.stages import TorchStages
    from masklet_build.nano import CHECKPOINT

    reference = TorchStages(load_checkpoint(CHECKPOINT, NANO), NANO)
    named = sample_inputs("mask_decoder", NANO, Sizes(B=8), seed=1)
    named["KIND"][:], named["MULTIMASK"][:] = KIND_TRACKED, 1
    inputs = [torch.tensor(named[tensor.name]) for tensor in reference.models["mask_decoder"].inputs]
    decoder = reference.stages["mask_decoder"]
    watched = Watched(decoder)
    with torch.no_grad():
        for number in range(3):
            decoder.decoder.iou_prediction_head.layers[-1].bias += 50 * torch.eye(4)[number + 1]  # which is the best from here on
            low, _, score, _ = watched(*inputs)
            shown, given = score > 0, in_image_order(watched.candidates(*inputs[:6])[:, number], NANO.grid)
            assert shown.any()
            assert (given - low)[shown].abs().max() < 1e-4 * low[shown].abs().max()
            decoder.decoder.iou_prediction_head.layers[-1].bias -= 50 * torch.eye(4)[number + 1]
    assert len(watched.seen) >= 8

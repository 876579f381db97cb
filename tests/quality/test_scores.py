"""What is averaged over what, and what counts as away and as found again: on cases worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from masklet_build.quality.datasets import DatasetError
from masklet_build.quality.methods import Answer, frozen
from masklet_build.quality.scores import ClipScores, mean, presence, returns, score, subset_means
from tests.quality.made_clip import MadeClip, squares


def scores(
    similarity: list[list[float]], *, areas: list[list[float]] | None = None, logits: list[list[float]] | None = None, **rest: object
) -> ClipScores:
    """J as given, F half of it."""
    values = np.array(similarity, float)
    shown = np.full(values.shape, 0.1) if areas is None else np.array(areas, float)
    said = np.ones(values.shape) if logits is None else np.array(logits, float)
    return ClipScores("a", frozenset(rest.get("subsets", ())), tuple(range(len(values))), values, values / 2, said, shown)


def test_the_first_and_the_last_frame_do_not_count() -> None:
    found = mean([scores([[0, 0.5, 1.0, 0]])])
    assert (found.j, found.f, found.jf) == (0.75, 0.375, 0.5625)


def test_the_mean_is_over_objects_and_not_over_clips() -> None:
    found = mean([scores([[9, 1.0, 9]]), scores([[9, 0.0, 9], [9, 0.5, 9], [9, 0.5, 9]])])
    assert (found.j, found.objects, found.clips) == (0.5, 4, 2)


def test_a_longer_clip_weighs_no_more_than_a_short_one() -> None:
    assert mean([scores([[9, 1, 1, 1, 1, 1, 9]]), scores([[9, 0, 9]])]).j == 0.5


def test_frames_without_true_masks_do_not_count() -> None:
    assert mean([scores([[9, 1.0, np.nan, 0.5, 9]])])[:2] == (0.75, 0.375)


def test_each_subset_has_its_clips() -> None:
    clips = [scores([[9, 1, 9]], subsets={"return"}), scores([[9, 0.5, 9]], subsets={"return", "occlusion"}), scores([[9, 0, 9]])]
    found = subset_means(clips)
    assert {name: (value.j, value.clips) for name, value in found.items()} == {"occlusion": (0.5, 1), "return": (0.75, 2)}


def test_scoring_compares_each_frame_and_object_with_its_own_truth() -> None:
    clip = MadeClip(squares([[4, 4, 4, 4], [8, 8, 0, 8]]), subsets=frozenset({"return"}))
    empty = np.zeros((2, 20, 20), np.bool_)
    answers = [clip.masks[0], clip.masks[1], np.stack([clip.masks[0, 0], empty[0]]), empty]
    made = score(clip, [Answer(masks, masks, np.array([1, -2], np.float32)) for masks in answers])
    assert made.similarity.tolist() == made.accuracy.tolist() == [[1, 1, 1, 0], [1, 1, 1, 0]]
    assert made.areas.tolist() == [[0.04] * 4, [0.16, 0.16, 0, 0.16]]
    assert made.presence.tolist() == [[1] * 4, [-2] * 4]
    assert (made.name, made.subsets, made.object_ids) == ("made", {"return"}, (1, 2))


def test_the_frozen_baseline_is_perfect_where_nothing_moves_and_wrong_where_something_does() -> None:
    assert mean([score(clip := MadeClip(squares([[4, 4, 4, 4]])), frozen(clip))]).jf == 1
    clip = MadeClip(squares([[4, 8, 0, 8]]))
    assert mean([score(clip, frozen(clip))]).j == 0.125  # a quarter of the square on frame 1, nothing on frame 2


def test_a_clip_without_truth_between_its_ends_cannot_be_scored() -> None:
    clip = MadeClip(squares([[4, 4, 4, 4]]), unknown=(1, 2))
    with pytest.raises(DatasetError, match="made has no true masks between"):
        score(clip, frozen(clip))


def test_presence_counts_tracked_frames_only_and_a_logit_of_0_is_away() -> None:
    made = scores(
        [[1] * 6] * 2, areas=[[0, 0, 0, 0.1, 0.1, 0.1], [0.1, 0.1, 0.0001, 0.1, 0.1, 0.1]], logits=[[-9, 0, 5, -1, 2, 3], [-9, 1, 1, 1, 1, 1]]
    )
    found = presence([made, scores([[1, 1]], areas=[[0.1, 0]], logits=[[1, -4]])])
    assert found == (3, 3, 2)  # said on frames 1 and 3 and in the second clip, true on 1 and 2 and there
    assert (found.precision, found.recall) == pytest.approx((2 / 3, 2 / 3))


def test_frames_of_unknown_truth_say_nothing_about_presence() -> None:
    assert presence([scores([[1, 1, 1]], areas=[[0.1, np.nan, 0.1]], logits=[[1, -5, 1]])]) == (0, 0, 0)


def test_presence_without_cases_has_no_rates() -> None:
    found = presence([scores([[1, 1, 1]])])
    assert (found.precision, found.recall) == (None, None)


def returning(absent: int, ious: list[float], areas: list[float] | None = None, after: list[float] = ()) -> ClipScores:
    """An object that is seen twice, away for some frames, seen again with these IoUs and areas, and then as `after` says (areas)."""
    shown = [0.1, 0.1] + [0.0] * absent + (areas or [0.1] * len(ious)) + list(after)
    return scores([[1.0] * (2 + absent) + ious + [0.0] * len(after)], areas=[shown])


@pytest.mark.parametrize(
    ("made", "expected"),
    [
        (returning(8, [0.9, 0.9, 0.9]), (1, 1)),
        (returning(7, [0.9, 0.9, 0.9]), (0, 0)),  # not away for long enough
        (returning(8, [0.5, 0.4]), (1, 1)),  # half of the frames, and 0.5 is enough
        (returning(8, [0.5, 0.4, 0.4]), (1, 0)),
        (returning(8, [0.0, 0.0, 0.9], [0.001, 0.0019, 0.002]), (1, 1)),  # it only peeps in at first
        (returning(8, [0.9], [0.001]), (0, 0)),  # and never more than that
        (returning(8, [0.9, 0.9], after=[0.0, 0.0]), (1, 1)),  # it goes away again: what follows does not count
        (returning(8, [0.9], after=[0.0] * 8 + [0.1]), (2, 1)),  # and comes back a second time
        (returning(8, [], after=[]), (0, 0)),  # never came back
    ],
)
def test_found_again(made: ClipScores, expected: tuple[int, int]) -> None:
    assert returns([made]) == expected


def test_returns_are_counted_over_objects_and_clips() -> None:
    found = returns([returning(8, [0.9]), returning(9, [0.1]), scores([[1, 1, 1]])])
    assert (found, found.rate) == ((2, 1), 0.5)
    assert returns([scores([[1, 1, 1]])]).rate is None


def test_an_absence_with_a_frame_of_unknown_truth_is_not_one_of_8_frames() -> None:
    shown = [0.1, *[0.0] * 4, np.nan, *[0.0] * 4, 0.1]
    assert returns([scores([[1.0] * len(shown)], areas=[shown])]) == (0, 0)

"""What every synthetic clip keeps: reproducible, in view at first, masks apart, stories that really happen."""

from __future__ import annotations

import hashlib
import subprocess
import sys

import numpy as np
import pytest

from masklet_build.clips import SPLITS, STORIES, SUBSETS, Clip, make_clip

SMALL = {"height": 64, "width": 64}
SEVERAL = range(4)


def small_clips(story: str, frames: int = 24) -> list[Clip]:
    return [make_clip("validation", index, story=story, frames=frames, **SMALL) for index in SEVERAL]


def digest(clip: Clip) -> str:
    return hashlib.sha256(clip.frames.tobytes() + clip.masks.tobytes() + repr(sorted(clip.subsets)).encode()).hexdigest()


def test_equal_arguments_give_equal_bytes_in_another_process_too() -> None:
    code = (
        "import hashlib; from masklet_build.clips import make_clip; clip = make_clip('train', 7, frames=5, height=64, width=64); "
        "print(hashlib.sha256(clip.frames.tobytes() + clip.masks.tobytes() + repr(sorted(clip.subsets)).encode()).hexdigest())"
    )
    other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()
    assert digest(make_clip("train", 7, frames=5, **SMALL)) == other


def test_splits_and_indices_share_no_scene() -> None:
    clips = [make_clip(split, index, frames=1, story="roam", objects=2, **SMALL) for split in SPLITS for index in range(8)]
    assert len({clip.frames.tobytes() for clip in clips}) == len(clips)
    assert len({clip.masks.tobytes() for clip in clips}) == len(clips)


@pytest.mark.parametrize(("height", "width", "frames", "objects"), [(64, 64, 3, 1), (48, 96, 2, 5), (90, 40, 1, 2)])
def test_a_clip_has_the_shape_that_was_asked_for(height: int, width: int, frames: int, objects: int) -> None:
    clip = make_clip("train", 0, frames=frames, height=height, width=width, objects=objects)
    assert (clip.frames.shape, clip.frames.dtype) == ((frames, height, width, 3), np.uint8)
    assert (clip.masks.shape, clip.masks.dtype) == ((frames, objects, height, width), np.bool_)
    assert clip.subsets <= set(SUBSETS)


def test_two_to_four_objects_and_all_stories_are_drawn_where_none_are_given() -> None:
    clips = [make_clip("train", index, frames=8, **SMALL) for index in range(16)]
    assert {clip.masks.shape[1] for clip in clips} == {2, 3, 4}
    assert set().union(*(clip.subsets for clip in clips)) == set(SUBSETS)


@pytest.mark.parametrize("story", STORIES)
def test_every_pixel_has_one_object_at_most_and_all_objects_are_in_view_first(story: str) -> None:
    for clip in small_clips(story, frames=8):
        assert clip.masks.sum(axis=1).max() == 1
        assert clip.masks[0].mean(axis=(1, 2)).min() >= 0.006


def test_many_objects_are_all_in_view_first() -> None:
    for index in range(20):
        first = make_clip("train", index, frames=1, objects=5, story="roam", **SMALL).masks[0]
        assert first.mean(axis=(1, 2)).min() >= 0.006


def test_twelve_objects_fit() -> None:
    clip = make_clip("test", 0, frames=1, objects=12)
    assert clip.masks[0].mean(axis=(1, 2)).min() >= 0.006


@pytest.mark.parametrize(("frames", "away"), [(8, 2), (23, 2), (24, 8), (40, 8)])
def test_an_object_that_returns_was_away_for_long(frames: int, away: int) -> None:
    for clip in small_clips("return", frames):
        assert "return" in clip.subsets
        assert any(longest_absence(mask.any(axis=(1, 2))) >= away for mask in clip.masks.transpose(1, 0, 2, 3))


def longest_absence(seen: np.ndarray) -> int:
    """Frames in the longest run without a pixel after which the object is seen in 3 frames at least."""
    longest = run = 0
    for index, now in enumerate(seen):
        run = 0 if now else run + 1
        if seen[index + 1 :].sum() >= 3:
            longest = max(longest, run)
    return longest


def test_no_clip_without_an_absence_counts_as_a_return() -> None:
    for story in ("roam", "cross", "hide"):
        for clip in small_clips(story, frames=12):
            long = any(longest_absence(mask.any(axis=(1, 2))) >= 2 for mask in clip.masks.transpose(1, 0, 2, 3))
            assert long or "return" not in clip.subsets


def test_an_object_that_hides_is_gone_and_seen_again() -> None:
    for clip in (make_clip("test", index, story="hide", frames=24, height=48, width=48) for index in range(16)):
        assert "occlusion" in clip.subsets
        assert any(longest_absence(mask.any(axis=(1, 2))) >= 1 for mask in clip.masks.transpose(1, 0, 2, 3))


def test_something_looks_alike_in_the_story_of_that_name() -> None:
    assert all("look_alike" in clip.subsets for clip in small_clips("look_alike", frames=8))


def test_two_objects_that_cross_meet() -> None:
    for index in SEVERAL:
        clip = make_clip("test", index, story="cross", objects=2, **SMALL)
        gaps = [np.hypot(*(np.argwhere(a).mean(axis=0) - np.argwhere(b).mean(axis=0))) for a, b in clip.masks if a.any() and b.any()]
        assert min(gaps) < 0.25 * 64  # or one is behind the other, and has no pixel


def test_a_mask_that_never_moves_is_no_tracker() -> None:
    """Mean IoU of each object's first mask with its later ones: a baseline that quality must be far above."""
    ious = []
    for index in range(10):
        masks = make_clip("test", index, frames=12, **SMALL).masks
        both, either = (masks[1:] & masks[:1]).sum(axis=(2, 3)), (masks[1:] | masks[:1]).sum(axis=(2, 3))
        ious.append((both / either).mean())
    assert np.mean(ious) < 0.4


@pytest.mark.parametrize(
    ("wrong", "word"),
    [
        ({"split": "dev"}, "train, validation, test"),
        ({"index": -1}, "0 or more"),
        ({"objects": 0}, "1 to 12"),
        ({"height": 20}, "at least 32"),
        ({"story": "war"}, "roam, cross"),
        ({"frames": 0}, "at least 1"),
        ({"story": "return", "frames": 7}, "at least 8"),
    ],
)
def test_a_clip_that_cannot_be_is_refused(wrong: dict[str, object], word: str) -> None:
    arguments: dict[str, object] = {"split": "train", "index": 0} | wrong
    with pytest.raises(ValueError, match=word):
        make_clip(**arguments)  # type: ignore[arg-type]

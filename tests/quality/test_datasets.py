"""Where the clips come from."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from masklet_build.clips import make_clip
from masklet_build.quality.datasets import DatasetError, DrawnClips
from masklet_build.quality.davis import DavisFolder
from masklet_build.quality.methods import Answer
from masklet_build.quality.scores import mean, score

DATA = Path(__file__).parents[1] / "data" / "davis_measures"
PALETTE = list(np.random.default_rng(0).permutation(256).repeat(3))  # of all 256 colours, or Pillow saves fewer bits


def save_sequence(root: Path, name: str, labels: np.ndarray, *, images: int | None = None) -> None:
    """Labels (T, H, W) as indexed PNG files, and a JPEG file for each of `images` frames (default T), all of one grey, 10 per frame."""
    for index, frame in enumerate(labels):
        file = root / "Annotations" / "480p" / name / f"{index:05}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        image = Image.fromarray(frame)
        image.putpalette(PALETTE)
        image.save(file)
    for index in range(len(labels) if images is None else images):
        file = root / "JPEGImages" / "480p" / name / f"{index:05}.jpg"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", labels.shape[:0:-1], (10 * index, 10 * index, 10 * index)).save(file)


def save_list(root: Path, *names: str, split: str = "val") -> None:
    (root / "ImageSets" / "2017").mkdir(parents=True, exist_ok=True)
    (root / "ImageSets" / "2017" / f"{split}.txt").write_text("".join(f"{name}\n" for name in names))


def labels(count: int = 4) -> np.ndarray:
    """Objects 1 and 3, which move to the right; beside them void."""
    made = np.zeros((count, 12, 20), np.uint8)
    for time in range(count):
        made[time, 2:5, time : time + 4], made[time, 7:10, time : time + 5] = 1, 3
        made[time, 11] = 255
    return made


@pytest.fixture
def davis(tmp_path: Path) -> Path:
    for name, count in (("walk", 4), ("bear", 6), ("other", 3)):
        save_sequence(tmp_path / "DAVIS", name, labels(count))
    save_list(tmp_path / "DAVIS", "walk", "bear")
    save_list(tmp_path / "DAVIS", "other", split="train")
    return tmp_path / "DAVIS"


def test_drawn_clips_are_test_clips_of_which_the_stories_take_turns() -> None:
    dataset = DrawnClips(count=6, frames=9, side=48)
    clips = [dataset.clip(index) for index in range(6)]
    assert [clip.name for clip in clips] == ["00-roam", "01-cross", "02-hide", "03-return", "04-look_alike", "05-roam"]
    assert dataset.lengths == tuple(len(clip) for clip in clips) == (9,) * 6
    assert "return" in clips[3].subsets
    for clip in clips:
        assert len(list(clip.frames())) == 9
        assert clip.truth(0).any(axis=(1, 2)).all()
        assert len(clip.object_ids) == len(clip.truth(8))
    made = make_clip("test", 5, frames=9, height=48, width=48, story="roam")
    assert np.array_equal(list(clips[5].frames()), made.frames)
    assert np.array_equal(clips[5].truth(7), made.masks[7])


def test_a_story_that_needs_more_frames_says_so() -> None:
    with pytest.raises(DatasetError, match="needs at least 8"):
        DrawnClips(frames=4, side=48).clip(2)


def test_a_davis_folder_gives_the_sequences_of_a_split_in_its_order(davis: Path) -> None:
    dataset = DavisFolder(davis)
    assert (dataset.sequences, dataset.lengths) == (("walk", "bear"), (4, 6))
    assert DavisFolder(davis, "train").sequences == ("other",)
    clip = dataset.clip(1)
    assert (clip.name, len(clip), clip.object_ids, clip.subsets) == ("bear", 6, (1, 3), frozenset())
    frames = list(clip.frames())
    assert [(frame.shape, round(float(frame.mean()), -1)) for frame in frames] == [((12, 20, 3), 10 * index) for index in range(6)]
    for index, expected in enumerate(labels(6)):
        assert np.array_equal(clip.truth(index), np.stack([expected == 1, expected == 3])), "void is background"


def test_the_first_clips_and_frames_can_be_taken(davis: Path) -> None:
    dataset = DavisFolder(davis, limit=1, max_frames=3)
    assert (dataset.sequences, dataset.lengths, len(dataset.clip(0)), len(list(dataset.clip(0).frames()))) == (("walk",), (3,), 3, 3)
    assert "first 3 frames" in dataset.description


def test_without_lists_all_annotated_sequences_are_taken(davis: Path) -> None:
    for file in (davis / "ImageSets" / "2017").iterdir():
        file.unlink()
    (davis / "ImageSets" / "2017").rmdir()
    (davis / "ImageSets").rmdir()
    (davis / "JPEGImages" / "480p" / "unknown").mkdir()
    assert DavisFolder(davis).sequences == ("bear", "other", "walk")


def test_frames_without_annotation_have_no_truth(tmp_path: Path) -> None:
    save_sequence(tmp_path, "half", labels(2), images=4)
    clip = DavisFolder(tmp_path).clip(0)
    assert [clip.truth(index) is None for index in range(4)] == [False, False, True, True]


def break_resolution(root: Path) -> None:
    (root / "JPEGImages" / "480p").rename(root / "JPEGImages" / "1080p")


def break_list(root: Path) -> None:
    (root / "ImageSets" / "2017" / "val.txt").unlink()


def break_images(root: Path) -> None:
    for file in (root / "JPEGImages" / "480p" / "walk").iterdir():
        file.unlink()


def break_first_annotation(root: Path) -> None:
    (root / "Annotations" / "480p" / "walk" / "00000.png").unlink()


def break_objects(root: Path) -> None:
    Image.new("L", (20, 12)).save(root / "Annotations" / "480p" / "walk" / "00000.png")


def break_colours(root: Path) -> None:
    Image.new("RGB", (20, 12)).save(root / "Annotations" / "480p" / "walk" / "00000.png")


def break_size(root: Path) -> None:
    Image.new("L", (10, 6), 1).save(root / "Annotations" / "480p" / "walk" / "00000.png")


@pytest.mark.parametrize(
    ("broken", "words"),
    [
        (break_resolution, "480p. Resolutions: 1080p"),
        (break_list, "val.txt. Splits in this folder: train"),
        (break_images, "walk holds no JPEG files"),
        (break_first_annotation, "has no 00000.png"),
        (break_objects, "shows no object"),
        (break_colours, "mode RGB"),
        (break_size, "is 20 x 12, but .* is 10 x 6"),
    ],
)
def test_what_is_missing_or_wrong_is_named(davis: Path, broken: object, words: str) -> None:
    broken(davis)
    with pytest.raises(DatasetError, match=words):
        DavisFolder(davis).clip(0)


def test_a_folder_that_is_something_else_is_told_the_format(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="JPEGImages/<resolution>, Annotations/<resolution>"):
        DavisFolder(tmp_path)


def test_a_whole_folder_scores_what_the_published_program_prints(tmp_path: Path) -> None:
    """Which frames and objects count, void pixels, and the mean over objects of sequences with different numbers of them."""
    published = json.loads((DATA / "published.json").read_text())["semi_supervised"]
    with np.load(DATA / "cases.npz") as arrays:
        videos = {name: (arrays[f"{name}_truth"], arrays[f"{name}_result"]) for name in ("one", "three")}
    for name, (truth, _) in videos.items():
        save_sequence(tmp_path, name, truth)
    dataset = DavisFolder(tmp_path)
    scored = []
    for index, name in enumerate(dataset.sequences):
        clip = dataset.clip(index)
        results = [np.stack([frame == label for label in clip.object_ids]) for frame in videos[name][1]]
        scored.append(score(clip, (Answer(masks, masks, np.ones(len(masks), np.float32)) for masks in results)))
    found = mean(scored)
    assert {"J": found.j, "F": found.f} == pytest.approx(published["mean"], abs=1e-12)
    for measure, place in (("J", 0), ("F", 1)):
        each = {f"{clip.name}_{number}": value for clip in scored for number, value in zip(clip.object_ids, clip.objects()[place], strict=True)}
        assert each == pytest.approx(published["objects"][measure], abs=1e-12)

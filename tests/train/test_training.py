"""A training as a whole: small, but all of it."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import safetensors
import torch
from torch import distributed, multiprocessing

from masklet.families import variant
from masklet_build.checkpoints.loading import load_checkpoint
from masklet_build.clips import make_clip
from train_nano import data, loop
from train_nano.data import Clips
from train_nano.loop import CHECKPOINT, RECIPE, STATE, Setting, Training
from train_nano.recipe import Phase, Recipe, RecipeError
from train_nano.record import CURVES, METRICS, read_metrics
from train_nano.start import train

pytestmark = [pytest.mark.torch, pytest.mark.slow]  # only who trains nano needs them

SMALL = Recipe("nano", 3, 2, (Phase(32, 2, 2, 2, 1e-3, 1e-3), Phase(64, 3, 2, 2, 1e-3, 1e-4)), 0.05, 0.9, 1.0)


@pytest.fixture(autouse=True)
def small_validation(monkeypatch):
    """Validation of a training that takes seconds takes seconds."""
    monkeypatch.setattr(loop, "validate", lambda *_: {"iou_point": 0.5})


def setting(out: Path, processes: int = 1, **more: Any) -> Setting:
    return Setting(out, "cpu", processes, workers=0, log_every=1, **more)


def weights(out: Path) -> dict[str, torch.Tensor]:
    return load_checkpoint(out / CHECKPOINT, variant("nano"))


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    out = tmp_path_factory.mktemp("training") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "validate", lambda *_: {"iou_point": 0.5})
        train(SMALL, setting(out), say=lambda line: None)
    return out


def test_it_leaves_recipe_record_curves_state_and_a_checkpoint_that_loads(trained):
    assert {RECIPE, METRICS, CURVES, STATE, CHECKPOINT} <= {path.name for path in trained.iterdir()}
    assert Recipe.read(trained / RECIPE) == SMALL
    assert [line["step"] for line in read_metrics(trained) if line["kind"] == "training"] == [1, 2, 3, 4]
    assert all(tensor.isfinite().all() for tensor in weights(trained).values())


def test_a_training_that_was_stopped_goes_on_to_the_same_weights(trained, tmp_path):
    out = tmp_path / "run"

    def stop(line: str) -> None:
        if line.startswith("step 3/"):  # the state of step 2 is saved: one step is lost and done again
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(SMALL, setting(out, save_every=0.0), say=stop)
    assert not (out / CHECKPOINT).exists()
    train(SMALL, setting(out), resume=True, say=lambda line: None)
    ours, theirs = weights(out), weights(trained)
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    assert [line["step"] for line in read_metrics(out) if line["kind"] == "training"] == [1, 2, 3, 4]


def test_two_processes_leave_a_checkpoint(tmp_path):
    out = tmp_path / "run"
    once = replace(SMALL, phases=(replace(SMALL.phases[0], steps=1),))
    train(once, setting(out, processes=2), say=print)
    assert all(tensor.isfinite().all() for tensor in weights(out).values())


def one_of_two(rank: int, out: Path) -> None:
    """A process of a training of two; it writes down the weights that it ends with."""
    loop.validate = lambda *_: {}
    distributed.init_process_group("gloo", init_method=f"file://{out / 'meeting'}", rank=rank, world_size=2)
    training = Training(SMALL, setting(out, processes=2), rank, lambda line: None)
    training.run()
    torch.save(training.average.weights, out / f"{rank}.pt")
    distributed.destroy_process_group()


def test_two_processes_share_what_they_learn(tmp_path):
    multiprocessing.spawn(one_of_two, (tmp_path,), 2)
    first, second = (torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in range(2))
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_as_many_processes_as_can_share_the_clips_evenly_are_the_default():
    recipe = replace(SMALL, phases=tuple(replace(SMALL.phases[0], clips=clips) for clips in (16, 4, 10)))
    assert [recipe.most_processes(cores) for cores in (1, 2, 4, 96)] == [1, 2, 2, 2]


def test_the_checkpoint_says_how_long_its_training_took(tmp_path, monkeypatch):
    monkeypatch.setattr(Training, "_spent", lambda self: 77.0)
    train(replace(SMALL, phases=SMALL.phases[:1]), setting(tmp_path / "run"), say=lambda line: None)
    with safetensors.safe_open(tmp_path / "run" / CHECKPOINT, "pt") as file:
        assert file.metadata()["seconds"] == "77"


def test_random_weights_are_those_of_the_seed_whatever_was_drawn_before():
    first = loop.fresh_model(variant("nano"), 5).state_dict()
    torch.rand(3)
    again, other = loop.fresh_model(variant("nano"), 5).state_dict(), loop.fresh_model(variant("nano"), 6).state_dict()
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["network.image_encoder.neck.convs.0.conv_1x1.weight"], other["network.image_encoder.neck.convs.0.conv_1x1.weight"])


def test_it_may_begin_with_a_checkpoint(trained, tmp_path):
    still = replace(SMALL, phases=(Phase(32, 2, 2, 1, 0.0, 0.0),), average=0.0)
    train(still, setting(tmp_path / "run", begin_with=trained / CHECKPOINT), say=lambda line: None)
    ours, theirs = weights(tmp_path / "run"), weights(trained)
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs), "a step at rate 0 changes nothing"


def test_a_line_that_was_cut_off_in_the_writing_is_left_out(tmp_path):
    (tmp_path / METRICS).write_text('{"step": 1}\n{"ste')
    assert read_metrics(tmp_path) == [{"step": 1}]
    assert read_metrics(tmp_path / "none") == []


def test_a_folder_with_a_training_is_not_begun_anew_unasked(trained):
    with pytest.raises(RecipeError, match="--resume"):
        train(SMALL, setting(trained), say=lambda line: None)


def test_nothing_to_resume_is_said(tmp_path):
    with pytest.raises(RecipeError, match="Leave --resume away"):
        train(SMALL, setting(tmp_path), resume=True, say=lambda line: None)


def test_clips_that_cannot_be_shared_are_refused(tmp_path):
    with pytest.raises(RecipeError, match="cannot share 2, 2 clips"):
        train(SMALL, setting(tmp_path / "run", processes=3), say=lambda line: None)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "change",
    [
        {"phases": []},
        {"variant": "unknown"},
        {"seed": None, "extra": 1},
        {"phases": [asdict(SMALL.phases[0]) | {"stories": ["sleep"]}]},
        {"phases": [asdict(SMALL.phases[0]) | {"every": 0}]},
        {"phases": [asdict(SMALL.phases[0]) | {"side": 40}]},
    ],
)
def test_a_wrong_recipe_is_refused(tmp_path, change):
    SMALL.write(tmp_path / "recipe.json")
    content = json.loads((tmp_path / "recipe.json").read_text()) | change
    (tmp_path / "recipe.json").write_text(json.dumps(content))
    with pytest.raises(RecipeError, match=r"recipe\.json"):
        Recipe.read(tmp_path / "recipe.json")


def test_remaining_begins_with_the_first_clip_that_was_not_seen():
    first, second = SMALL.phases
    assert list(SMALL.remaining(0)) == [(first, 0, 0), (second, 0, 4)]
    assert list(SMALL.remaining(1)) == [(first, 1, 2), (second, 0, 4)]
    assert list(SMALL.remaining(3)) == [(second, 1, 6)]
    assert list(SMALL.remaining(4)) == []


def test_of_every_so_many_frames_one_is_seen():
    all_frames, all_masks = Clips("train", 7, 64, 2)[5]
    frames, masks = Clips("train", 3, 64, 2, every=3)[5]
    assert torch.equal(frames, all_frames[[0, 3, 6]])
    assert torch.equal(masks, all_masks[[0, 3, 6]])


def test_a_clip_whose_story_cannot_be_told_tells_another(monkeypatch):
    asked = []

    def no_returns(*place: Any, story: str | None, **size: Any) -> Any:
        asked.append(story)
        if story == "return":
            raise ValueError("no scene tells it")
        return make_clip(*place, story=story, **size)

    monkeypatch.setattr(data, "make_clip", no_returns)
    frames, _ = Clips("train", 2, 64, 2, stories=("return",))[0]
    assert asked == ["return", None]
    assert frames.shape == (2, 64, 64, 3)

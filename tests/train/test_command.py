"""The command line of a training."""

from __future__ import annotations

import json

import pytest

from masklet_build import nano
from train_nano.__main__ import main
from train_nano.recipe import Recipe, RecipeError

pytestmark = pytest.mark.torch


def test_the_shipped_recipe_can_be_read():
    recipe = Recipe.read(nano.RECIPE)
    assert recipe.variant == "nano"
    assert recipe.steps > 1000


def test_a_missing_recipe_is_said(tmp_path, capsys):
    assert main(["--out", str(tmp_path / "run"), "--recipe", str(tmp_path / "none.json")]) == 1
    error = capsys.readouterr().err
    assert "none.json is not a recipe" in error
    assert "Traceback" not in error


def test_a_missing_checkpoint_to_begin_with_is_said(tmp_path, capsys):
    recipe = tmp_path / "recipe.json"
    content = json.loads(nano.RECIPE.read_text())
    recipe.write_text(json.dumps(content | {"phases": [content["phases"][0] | {"steps": 1}]}))
    arguments = [
        "--out",
        str(tmp_path / "run"),
        "--recipe",
        str(recipe),
        "--processes",
        "1",
        "--begin-with",
        str(tmp_path / "none.safetensors"),
    ]
    assert main(arguments) == 1
    assert "There is no checkpoint " in capsys.readouterr().err


def test_help_teaches(capsys):
    with pytest.raises(SystemExit, match="0"):
        main(["--help"])
    said = capsys.readouterr().out
    assert "--resume" in said
    assert "masklet-build evaluate nano" in said


def test_unknown_fields_of_a_recipe_are_refused(tmp_path):
    content = json.loads(nano.RECIPE.read_text())
    content["phases"][0]["speed"] = 3
    (tmp_path / "recipe.json").write_text(json.dumps(content))
    with pytest.raises(RecipeError, match="speed"):
        Recipe.read(tmp_path / "recipe.json")

"""Masks in reduced precision over whole clips, beside those of fp32: the bars that count."""

from __future__ import annotations

import json

import pytest

from masklet.families import NANO
from masklet_build import cli, nano
from masklet_build.clips.stories import LEAST_FRAMES, STORIES
from masklet_build.export.precision.choice import Choice
from masklet_build.quality.datasets import DrawnClips
from masklet_build.quality.in_precision import typed_servers
from masklet_build.quality.run import evaluate

pytestmark = [pytest.mark.torch, pytest.mark.slow]  # each engine is judged in test_export.py

CHOICES = [Choice.of(NANO, "fp16"), Choice.of(NANO, "bf16", "bf16")]


@pytest.fixture(scope="module")
def evaluation():
    dataset = DrawnClips(count=len(STORIES), frames=max(LEAST_FRAMES.values()))  # a clip of each story, as short as they can be told
    return evaluate(typed_servers(NANO, nano.CHECKPOINT, CHOICES, lambda line: None), dataset, ["point"], controls=False, say=lambda line: None)


def test_masks_agree_with_those_of_fp32(evaluation):
    ious = evaluation.agreement.mean_iou()
    assert set(ious) == {(str(choice), "point") for choice in CHOICES}
    assert all(0.99 <= value < 1 for value in ious.values()), ious


def test_hardly_a_point_of_quality_is_lost(evaluation):
    from masklet_build.quality.report import content

    rows = content(evaluation, "five clips")["agreement"]
    assert [row["points_lost"] <= 0.3 for row in rows] == [True] * len(CHOICES), rows
    assert all(row["JF"]["fp32"] > 0.5 for row in rows), "the clips are tracked at all"


def test_the_command_compares_types_and_says_what_was_lost(tmp_path, capsys):
    words = ["--typed", "bf16:bf16", "--clips", "1", "--frames", "3", "--prompt", "point"]
    assert cli.main(["evaluate", "nano", "--out", str(tmp_path), *words]) == 0
    assert "points lost" in capsys.readouterr().out
    made = json.loads((tmp_path / "quality.json").read_text())
    assert [(item["prompt"], list(item["JF"])) for item in made["agreement"]] == [("point", ["fp32", "bf16"])]

"""The report says what was scored, and the command refuses what makes no sense."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from masklet_build import cli
from masklet_build.quality import report
from masklet_build.quality.datasets import DrawnClips
from masklet_build.quality.run import Evaluation, Progress, Series, plan, score_server
from masklet_build.quality.served import Served
from tests.quality.oracle import Oracle

DATASET = DrawnClips(count=4, frames=9, side=40)


@pytest.fixture(scope="module")
def evaluation() -> Evaluation:
    result = Evaluation()
    progress = Progress(1, lambda line: None)
    for precision, tasks in (("fp32", plan(["point", "mask"], controls=True)), ("bf16", plan(["point", "mask"], controls=False))):
        oracle = Oracle(DATASET.clip(index) for index in range(4))
        score_server(oracle.tracker(), precision, DATASET, tasks, result, progress)
        result.served.append(Served("test:0", "nano", precision, 64 * "a"))
    return result


def test_the_json_has_every_object_of_every_clip(evaluation: Evaluation, tmp_path: Path) -> None:
    report.write(tmp_path, report.content(evaluation, "four clips"))
    made = json.loads((tmp_path / "quality.json").read_text())
    assert (made["variant"], made["dataset"], made["machine"]["cores"] > 0) == ("nano", "four clips", True)
    rows = {(row["method"], row["prompt"], row["precision"]): row for row in made["rows"]}
    assert len(rows) == 8  # the baseline, two prompts twice, a control without memory and two of the prompted frame
    row = rows["tracked", "point", "bf16"]
    assert (row["JF"], row["presence"]["recall"], row["clips"][3]["subsets"]) == (1, 1, sorted(DATASET.clip(3).subsets))
    assert row["objects"] == sum(len(clip["each"]) for clip in row["clips"])
    assert row["clips"][0]["each"][0] == {"object": 1, "J": 1, "F": 1}
    baseline = evaluation.scores[Series("frozen", "", "")][1]
    expected = [[number, round(j, 4), round(f, 4)] for number, j, f in zip(baseline.object_ids, *baseline.objects(), strict=True)]
    assert [list(each.values()) for each in rows["frozen", "", ""]["clips"][1]["each"]] == expected
    assert row["subsets"]["return"]["objects"] == sum(clip["objects"] for clip in row["clips"] if "return" in clip["subsets"])
    assert [(item["prompt"], item["mask_iou"], item["points_lost"]) for item in made["agreement"]] == [("point", 1, 0), ("mask", 1, 0)]


def test_points_lost_are_hundredths_and_positive_where_the_second_is_worse() -> None:
    rows = [{"method": "tracked", "prompt": "box", "precision": name, "JF": value} for name, value in (("fp32", 0.85), ("bf16", 0.84))]
    assert report._agreement(rows, "box", 0.99, ["fp32", "bf16"])["points_lost"] == pytest.approx(1)


def test_all_lines_of_a_table_have_as_many_cells_as_its_head(evaluation: Evaluation) -> None:
    tables = [block.split("\n") for block in report.markdown(report.content(evaluation, "four clips")).split("\n\n") if block.startswith("|")]
    assert [len(table) - 2 for table in tables] == [8, 4, 2, 4]  # rows, presence, agreement, clips
    for table in tables:
        assert len({line.count("|") for line in table}) == 1


def test_without_absences_and_with_one_server_there_is_one_table_in_the_summary(evaluation: Evaluation) -> None:
    made = report.content(evaluation, "four clips")
    for row in made["rows"]:
        row["presence"]["true"] = 0
    made["agreement"] = []
    assert report.summary(made).count("\n| -") == 1


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["efficienttam_ti"], "--engines is required for efficienttam_ti"),
        (["nano", "--url", "localhost:8001", "--precision", "fp32"], "Leave out --engines and --precision"),
        (["nano", "--frames", "2"], "2 is too few: at least 3"),
        (["nano", "--prompt", "scribble"], "invalid choice: 'scribble'"),
    ],
)
def test_arguments_that_make_no_sense_are_refused(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        cli.main(["evaluate", *words, "--out", "unused"])
    assert message in capsys.readouterr().err


def test_a_server_that_is_not_there_is_named_and_nothing_is_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["evaluate", "nano", "--url", "localhost:1", "--out", str(tmp_path / "out")]) == 1
    assert "no masklet server answers at localhost:1" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_folder_that_is_no_dataset_fails_before_any_server_starts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["evaluate", "nano", "--davis", str(tmp_path), "--out", str(tmp_path / "out")]) == 1
    assert "there is no folder" in capsys.readouterr().err

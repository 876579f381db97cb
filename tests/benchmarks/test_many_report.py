"""The figures of a run over many videos are what their names say."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from benchmarks.many_report import Lengths, Scale, Work, alone, draw, markdown

FACTS = {
    "threads": 2,
    "load_before": 0.1,
    "command": "c",
    "date": "d",
    "commit": "e",
    "machine": {"cpu": "p", "cores": 2, "ram_gib": 8},
    "versions": {"python": "3"},
}


def work(frames: int, executions: int) -> Work:
    return Work(frames, {"image_encoder": executions, "memory_attention": executions}, {"tritonserver": 0.5, "image_encoder": 1.5})


@pytest.fixture
def scale() -> Scale:
    """Three rounds of 8 videos of 2 objects, in the last of which the machine was half as fast."""
    made = Scale(8, 2)
    for speed in (1.0, 1.0, 0.5):
        for way, fps in (("batched", 60.0), ("limit_1", 40.0), ("eager", 15.0)):
            made.fps[way].append(fps * speed)
        made.work["batched"].append(work(96, 16))
        made.work["limit_1"].append(work(96, 96))
        made.idle.append(0.01)
    return made


@pytest.fixture
def content(scale: Scale) -> dict[str, Any]:
    lengths = Lengths([[20.0, 30.0]], [[2.0, 4.0]], [[40.0, 45.0]])
    engines = alone({1: [{"image_encoder": 10.0, "mask_decoder": 2.0}], 4: [{"image_encoder": 20.0, "mask_decoder": 4.0}]})
    other = Scale(1, 2, scale.fps, scale.work, scale.idle)
    head = {"variant": "v", "precision": "fp32", "frames": "f", "in_flight": 4, "gflop": {"2": 1.0}, "matrix_product_gflops": {"openvino fp32": 80.0}}
    return {**head, "scales": [other.summary(), scale.summary()], "engines_alone": engines, "memory_length_ms": lengths.summary(), **FACTS}


def test_a_slower_round_changes_no_ratio(scale: Scale) -> None:
    summary = scale.summary()
    assert summary["times_limit_1"] == {"median": 1.5, "quartile_1": 1.5, "quartile_3": 1.5, "count": 3}
    assert summary["times_eager"] == {"median": 4.0, "quartile_1": 4.0, "quartile_3": 4.0, "count": 3}


def test_calls_are_as_large_as_frames_and_objects_make_them(scale: Scale) -> None:
    summary = scale.summary()
    assert summary["frames_per_call"] == {"batched": 6.0, "limit_1": 1.0}
    assert summary["objects_per_call"] == {"batched": 12.0, "limit_1": 2.0}


def test_cpu_time_is_that_of_one_frame(scale: Scale) -> None:
    assert scale.summary()["cpu_ms_per_frame"]["batched"] == pytest.approx({"tritonserver": 500 / 96, "image_encoder": 1500 / 96})


def test_the_gain_of_a_batch_is_over_as_many_single_calls() -> None:
    one, four = alone({1: [{"a": 10.0}, {"a": 20.0}], 4: [{"a": 20.0}, {"a": 40.0}]})
    assert (one["total_ms"], one["gain"]["median"]) == (15.0, 1.0)
    assert (four["engine_ms"], four["total_ms"], four["gain"]["median"]) == ({"a": 7.5}, 7.5, 2.0)


def test_the_time_of_a_frame_is_the_median_of_frames_of_its_number() -> None:
    lengths = Lengths([[1.0, 5.0], [2.0, 6.0], [9.0, 70.0]], [[0.0, 0.0]], [[0.0, 0.0]])
    assert lengths.summary()["server"] == [2.0, 6.0]


def test_every_row_of_the_tables_has_as_many_cells_as_their_heads(content: dict[str, Any]) -> None:
    tables = [block for block in markdown(content).split("\n\n") if block.startswith("|")]
    assert [len(table.splitlines()) for table in tables] == [4, 6, 4, 4]
    for table in tables:
        assert len({line.count("|") for line in table.splitlines()}) == 1


def test_the_plot_names_its_lines_and_is_the_same_for_the_same_figures(content: dict[str, Any], tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    for name in ("one.svg", "other.svg"):
        draw(content, tmp_path / name)
    drawn = (tmp_path / "one.svg").read_text()
    words = {text.text for text in ElementTree.fromstring(drawn).iter("{http://www.w3.org/2000/svg}text")}
    assert {"server", "server, engine batch limit 1", "eager PyTorch", "v, fp32, 2 object(s) a video"} <= words
    assert drawn == (tmp_path / "other.svg").read_text()

"""The figures of a speed run are what their names say."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.report import Result, allowed, markdown, spread
from masklet.contract import TIMING_FIELDS

ENGINES = ("image_encoder", "memory_attention", "mask_decoder", "memory_encoder")


def add_round(result: Result, slowness: float, *, disturbed: bool = False) -> None:
    """A round on a machine so much slower: a server of 100 ms, three times as fast as eager PyTorch, whose engines alone take 80 ms."""
    result.server += [100.0 * slowness] * 3 + [900.0] * disturbed
    result.eager += [300.0 * slowness] * 3 + [5000.0] * disturbed
    result.bare += [dict.fromkeys(ENGINES, 20.0 * slowness)] * 3 + [dict.fromkeys(ENGINES, 700.0)] * disturbed
    result.timing += [dict.fromkeys(TIMING_FIELDS, 10.0)] * 3
    result.end_round()


@pytest.fixture
def result() -> Result:
    """Three rounds: a disturbed one, a quiet one, and one in which the machine was half as fast."""
    made = Result("fp32", 2)
    add_round(made, 1.0, disturbed=True)
    add_round(made, 1.0)
    add_round(made, 2.0)
    return made


def test_neither_disturbed_frames_nor_slower_rounds_change_the_ratios(result: Result) -> None:
    summary = result.summary()
    assert summary["times_faster_than_eager"] == {"median": 3.0, "quartile_1": 3.0, "quartile_3": 3.0, "count": 3}
    assert summary["times_the_bare_engines"] == {"median": 1.25, "quartile_1": 1.25, "quartile_3": 1.25, "count": 3}
    assert summary["fps"] == 10.0


def test_arithmetic_bounds_the_frame_rate() -> None:
    said = allowed(gflop=5.0, peak=200.0, objects=2, server_fps=10.0, eager_fps=20.0)
    assert said == "2 object(s): 5.0 GFLOP a frame, so 40 frames per second or 2.0 x eager PyTorch at most; the server reaches 25 % of that."


def test_quartiles_enclose_half_of_the_frames() -> None:
    assert spread([float(value) for value in range(101)]) == {"median": 50, "quartile_1": 25, "quartile_3": 75, "count": 101}


def test_every_row_of_the_tables_has_as_many_cells_as_their_heads(result: Result, tmp_path: Path) -> None:
    content = {
        "variant": "v",
        "threads": 2,
        "load_before": 0.1,
        "matrix_product_gflops": {"torch fp32": 200.0, "openvino fp32": 200.0},
        "gflop": {"2": 5.0},
        "command": "c",
        "date": "d",
        "commit": "e",
        "machine": {"cpu": "p", "cores": 2, "ram_gib": 8},
        "versions": {"python": "3"},
        "results": [result.summary(), result.summary()],
    }
    json.dumps(content)
    tables = [block for block in markdown(content).split("\n\n") if block.startswith("|")]
    assert [len(table.splitlines()) for table in tables] == [4, 4]
    for table in tables:
        assert len({line.count("|") for line in table.splitlines()}) == 1

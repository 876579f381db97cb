"""The figures of a speed run are what their names say."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from masklet.contract import TIMING_FIELDS
from report import Result, markdown, spread

ENGINES = ("image_encoder", "memory_attention", "mask_decoder", "memory_encoder")


@pytest.fixture
def result() -> Result:
    """A server of 100 ms, three times as fast as eager PyTorch, whose engines alone take 80 ms; one frame of each was disturbed."""
    made = Result("fp32", 2)
    made.server = [100.0, 100.0, 900.0, 100.0]
    made.eager = [300.0, 300.0, 5000.0]
    made.bare = [dict.fromkeys(ENGINES, 20.0), dict.fromkeys(ENGINES, 20.0), dict.fromkeys(ENGINES, 700.0)]
    made.timing = [dict.fromkeys(TIMING_FIELDS, 10.0)]
    return made


def test_ratios_are_those_of_medians_so_a_disturbed_frame_does_not_count(result: Result) -> None:
    summary = result.summary()
    assert summary["times_faster_than_eager"] == 3.0
    assert summary["times_the_bare_engines"] == 1.25
    assert summary["fps"] == 10.0


def test_quartiles_enclose_half_of_the_frames() -> None:
    assert spread([float(value) for value in range(101)]) == {"median": 50, "quartile_1": 25, "quartile_3": 75, "frames": 101}


def test_every_row_of_the_tables_has_as_many_cells_as_their_heads(result: Result, tmp_path: Path) -> None:
    content = {
        "variant": "v",
        "threads": 2,
        "load_before": 0.1,
        "matrix_product_gflops": {"torch fp32": 200.0},
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

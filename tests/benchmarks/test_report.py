"""What all reports share."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.report import facts, ratios, save, spread, table


def test_quartiles_enclose_half_of_the_values() -> None:
    assert spread([float(value) for value in range(101)]) == {"median": 50, "quartile_1": 25, "quartile_3": 75, "count": 101}


def test_ratios_are_those_of_each_round() -> None:
    assert ratios([2.0, 40.0], [1.0, 10.0]) == [2.0, 4.0]


def test_a_row_that_does_not_fit_its_head_is_no_table() -> None:
    assert table(["a", "b"], [[1, 2]]) == ["| a | b |", "| --- | --- |", "| 1 | 2 |", ""]
    with pytest.raises(AssertionError):
        table(["a", "b"], [[1, 2, 3]])


def test_a_report_says_where_it_comes_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.orig_argv", ["/usr/bin/python", "-m", "benchmarks.x", "--out", "a b"])
    save(tmp_path, "x", {"figure": 0.123456, **facts(0.5, threads=2)}, ["# X", ""])
    made, text = json.loads((tmp_path / "x.json").read_text()), (tmp_path / "x.md").read_text()
    assert (made["figure"], made["threads"], made["load_before"]) == (0.1235, 2, 0.5)
    assert text.startswith("# X\n\n")
    for word in (made["machine"]["cpu"], f"numpy {made['versions']['numpy']}", "`python -m benchmarks.x --out 'a b'`", made["commit"]):
        assert word in text

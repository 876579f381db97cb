"""The report of what snapshots cost."""

from __future__ import annotations

from dataclasses import asdict

from benchmarks.report import facts
from benchmarks.snapshots import Cost, markdown


def test_a_cost_is_shared_out_over_the_frames_between_two_snapshots() -> None:
    cost = Cost(objects=2, plain_ms=40, snapshot_ms=44, restore_ms=30, nbytes=2**20)
    lines = markdown({"costs": [asdict(cost)], **facts(0.5)})
    assert "| 1 | 10.0 % | 1024 KiB | 30 ms |" in lines
    assert "| 8 | 1.2 % | 128 KiB | 310 ms |" in lines
    assert any("2 object(s): a frame takes 40.0 ms, with a snapshot 4.0 ms more" in line for line in lines)

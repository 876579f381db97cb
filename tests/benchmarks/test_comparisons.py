"""The figures of `speed` and `many_videos` are what their names say."""

from __future__ import annotations

import json

import pytest

pytest.importorskip("torch")

from benchmarks.comparisons import Result, Scale, Work, many_videos_tables, speed_tables
from benchmarks.floor import ENGINES
from masklet.contract import TIMING_FIELDS

pytestmark = pytest.mark.torch

PEAKS = {"torch fp32": 200.0, "openvino fp32": 80.0}


def add_round(result: Result, slowness: float, *, disturbed: bool = False) -> None:
    """A round on a machine so much slower: a server of 100 ms, a third of eager PyTorch and half of torch.compile, whose engines alone take 80 ms."""
    for way, ms in (("server", 100.0), ("eager PyTorch", 300.0), ("torch.compile", 200.0)):
        result.ways[way].append([ms * slowness] * 3 + [5000.0] * disturbed)
    result.bare.append([dict.fromkeys(ENGINES, 20.0 * slowness)] * 3 + [dict.fromkeys(ENGINES, 700.0)] * disturbed)
    result.timing += [dict.fromkeys(TIMING_FIELDS, 10.0)] * 3
    result.hops.append(5.0)


@pytest.fixture
def result() -> Result:
    """Three rounds: a disturbed one, a quiet one, and one in which the machine was half as fast."""
    made = Result("fp32", 2, {"server": [], "eager PyTorch": [], "torch.compile": []})
    add_round(made, 1.0, disturbed=True)
    add_round(made, 1.0)
    add_round(made, 2.0)
    return made


def test_neither_disturbed_frames_nor_slower_rounds_change_the_ratios(result: Result) -> None:
    summary = result.summary()
    assert summary["times_faster"] == {"median": 2.0, "quartile_1": 2.0, "quartile_3": 2.0, "count": 3}
    assert summary["times_the_engines"] == {"median": 1.25, "quartile_1": 1.25, "quartile_3": 1.25, "count": 3}


def test_the_server_is_compared_with_the_fastest_way_that_pytorch_has(result: Result) -> None:
    assert result.summary()["fastest"] == "torch.compile"
    for frames in result.ways["eager PyTorch"]:
        frames[:] = [ms / 3 for ms in frames]  # now as fast as the server
    assert (result.summary()["fastest"], result.summary()["times_faster"]["median"]) == ("eager PyTorch", 1.0)


def cells(lines: list[str]) -> list[list[list[str]]]:
    """The tables among some lines: rows of cells."""
    tables = [block.splitlines() for block in "\n".join(lines).split("\n\n") if block.startswith("|")]
    return [[[cell.strip() for cell in line.strip("|").split("|")] for line in table] for table in tables]


def test_the_tables_of_speed_have_every_way_and_the_share_that_products_need(result: Result) -> None:
    content = {"variant": "v", "frames": "f", "peaks": PEAKS, "gflop": {"2": dict.fromkeys(ENGINES, 0.8)}, "results": [result.summary()] * 2}
    json.dumps(content)
    times, places = cells(speed_tables(content))
    assert times[2][:5] == ["fp32", "2", "100.0 (100.0-200.0)", "300 (300-600)", "200 (200-400)"]
    assert times[2][6] == "2.00 (2.00-2.00), torch.compile"
    assert places[2][3] == "10.0 (20.0, 50 %)", "0.8 GFLOP at 80 GFLOP/s are 10 of its 20 ms"
    assert [len(table) for table in (times, places)] == [4, 4]


def test_what_a_session_keeps_is_told(result: Result) -> None:
    result.kept = {"session": 5e6}
    content = {"variant": "v", "frames": "f", "peaks": PEAKS, "gflop": {"2": dict.fromkeys(ENGINES, 0.8)}, "results": [result.summary()]}
    assert "With every frame session holds 5.0 MB more (fp32)." in speed_tables(content)


def work(frames: int, executions: int) -> Work:
    return Work(frames, {"image_encoder": executions, "memory_attention": executions}, {"tritonserver": 0.5, "image_encoder": 1.5})


def scale(videos: int, eager: float) -> Scale:
    """Three rounds of videos of 2 objects, in the last of which the machine was half as fast."""
    made = Scale(videos, 2, {way: [] for way in ("server", "limit 1", "eager PyTorch", "torch.compile")})
    for speed in (1.0, 1.0, 0.5):
        for way, fps in (("server", 60.0), ("limit 1", 40.0), ("eager PyTorch", eager), ("torch.compile", 12.0)):
            made.fps[way].append(fps * speed)
        made.work["server"].append(work(96, 16))
        made.work["limit 1"].append(work(96, 96))
        made.idle.append(0.01)
    return made


def test_a_slower_round_changes_no_ratio_of_many_videos() -> None:
    summary = scale(8, 15.0).summary()
    assert summary["times_limit_1"] == {"median": 1.5, "quartile_1": 1.5, "quartile_3": 1.5, "count": 3}
    assert summary["times_fastest"] == {"median": 4.0, "quartile_1": 4.0, "quartile_3": 4.0, "count": 3}
    assert summary["fastest"] == "eager PyTorch"


def test_calls_are_as_large_as_frames_and_objects_make_them_and_cpu_time_is_that_of_one_frame() -> None:
    summary = scale(8, 15.0).summary()
    assert (summary["frames_per_call"], summary["objects_per_call"]) == (6.0, 12.0)
    assert summary["cpu_ms_per_frame"]["server"] == pytest.approx({"tritonserver": 500 / 96, "image_encoder": 1500 / 96})


def test_pytorch_that_falls_with_the_number_of_videos_is_told_beside_its_best() -> None:
    """Eager PyTorch makes 30 frames/s with one video and 20 with eight: three times as fast with eight, but twice as fast as it can be."""
    scales = [scale(1, 30.0).summary(), scale(8, 20.0).summary()]
    head = {"variant": "v", "precision": "fp32", "frames": "f", "in_flight": 4, "gflop": {"2": 1.0}, "peaks": PEAKS, "threads": 2}
    found, cpu = cells(many_videos_tables({**head, "scales": scales}))
    columns = dict(zip(found[0], found[3], strict=True))
    assert columns["server / fastest of PyTorch"] == "3.00 (3.00-3.00), eager PyTorch"
    assert columns["/ its best"] == "2.00"
    assert [row[1] for row in cpu if row[0].startswith("products alone")] == ["75 %"], "60 frames/s of 1 GFLOP at 80 GFLOP/s"

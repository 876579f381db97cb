"""A call that is shared out computes what it computes whole, and every engine does it alike on all its lanes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from masklet_build.embedded import runners
from masklet_build.embedded.engine import Engine
from masklet_build.embedded.shares import shares
from tests.embedded.tiny_engines import gathering_engine, squaring_engine

PARAMETERS = {"runtime": "openvino", "precision": "fp32", "threads": "2"}


def call(videos: list[int]) -> dict[str, np.ndarray]:
    """EMBEDDING of each video, and a row of X for each object."""
    embedding = np.arange(max(videos) + 1, dtype=np.float32)[:, None] * 10
    return {"EMBEDDING": embedding, "VIDEO": np.array(videos, np.int32), "X": np.arange(len(videos), dtype=np.float32)[:, None]}


def computed(inputs: dict[str, np.ndarray]) -> np.ndarray:
    return inputs["EMBEDDING"][inputs["VIDEO"]] + inputs["X"]


@pytest.mark.parametrize("videos", [[0], [0, 0, 0], [0, 1], [0, 0, 0, 1], [0, 1, 1, 1], [0, 0, 1, 2, 2, 2, 3], list(range(9))], ids=str)
@pytest.mark.parametrize("most", [1, 2, 3, 16])
def test_the_shares_of_a_call_are_the_call(videos, most):
    inputs = call(videos)
    parts = shares(inputs, {"EMBEDDING"}, most)
    assert len(parts) == min(most, max(videos) + 1)
    np.testing.assert_array_equal(np.concatenate([computed(part) for part in parts]), computed(inputs))


def test_the_objects_of_a_video_stay_together():
    parts = shares(call([0, 0, 0, 1, 1, 2, 2, 2]), {"EMBEDDING"}, 2)
    assert [len(part["EMBEDDING"]) for part in parts] == [2, 1] or [len(part["EMBEDDING"]) for part in parts] == [1, 2]
    assert sum(len(part["X"]) for part in parts) == 8


def test_shares_are_of_about_equal_size():
    assert [len(part["X"]) for part in shares({"X": np.zeros((10, 1))}, (), 4)] == [2, 3, 3, 2]


def test_nothing_is_copied():
    inputs = call([0, 1, 2, 3])
    for part in shares(inputs, {"EMBEDDING"}, 2):
        assert part["EMBEDDING"].base is inputs["EMBEDDING"]
        assert np.shares_memory(part["X"], inputs["X"])


def test_videos_out_of_order_are_refused():
    with pytest.raises(ValueError, match=r"VIDEO is \[1, 0\]"):
        shares(call([1, 0]), {"EMBEDDING"}, 2)


@pytest.mark.parametrize("videos", [[0], [0, 0], [0, 1], [0, 0, 1, 2], list(range(8))], ids=str)
def test_an_engine_with_lanes_computes_what_the_call_says(tmp_path: Path, videos):
    gathering_engine(tmp_path / "engine.onnx")
    engine = Engine(tmp_path / "engine", PARAMETERS, {"EMBEDDING"})
    for _ in range(3):
        np.testing.assert_array_equal(engine(call(videos))["OUT"], computed(call(videos)))


def test_a_failure_on_one_lane_is_told_and_the_engine_goes_on(tmp_path: Path):
    gathering_engine(tmp_path / "engine.onnx")
    engine = Engine(tmp_path / "engine", PARAMETERS, {"EMBEDDING"})
    wrong = call([0, 1, 2, 3])
    wrong["X"] = np.zeros((4, 1, 1, 1), np.float32)
    with pytest.raises(RuntimeError):
        engine(wrong)
    np.testing.assert_array_equal(engine(call([0, 1]))["OUT"], computed(call([0, 1])))


def test_where_it_is_not_known_what_leads_with_videos_nothing_is_shared_out(tmp_path: Path):
    gathering_engine(tmp_path / "engine.onnx")
    engine = Engine(tmp_path / "engine", PARAMETERS, None)
    inputs = call([0, 0, 1, 2])
    np.testing.assert_array_equal(engine(inputs)["OUT"], computed(inputs))


class Watched:
    """A request of a lane, which tells when it begins and ends."""

    def __init__(self, request: Any, lane: int, told: list[str]) -> None:
        self._request, self._lane, self._told = request, lane, told

    def infer(self, *args: Any, **named: Any) -> Any:
        self._told.append(f"begin {self._lane}")
        made = self._request.infer(*args, **named)
        self._told.append(f"end {self._lane}")
        return made

    def start_async(self, *args: Any, **named: Any) -> None:
        self._told.append(f"begin {self._lane}")
        self._request.start_async(*args, **named)

    def wait(self) -> None:
        self._request.wait()
        self._told.append(f"end {self._lane}")

    def get_tensor(self, name: str) -> Any:
        return self._request.get_tensor(name)


def test_lanes_meet_a_new_shape_one_after_another_and_run_known_ones_at_once(tmp_path: Path):
    gathering_engine(tmp_path / "engine.onnx")
    engine = Engine(tmp_path / "engine", PARAMETERS, {"EMBEDDING"})
    told: list[str] = []
    engine._apart._requests = [Watched(request, lane, told) for lane, request in enumerate(engine._apart._requests)]
    in_turn, at_once = ["begin 0", "end 0", "begin 1", "end 1"], ["begin 0", "begin 1", "end 0", "end 1"]
    for videos, order in (([0, 1], in_turn), ([0, 1], at_once), ([0, 0, 1], in_turn), ([0, 0, 1], at_once), ([0, 1], at_once)):
        told.clear()
        np.testing.assert_array_equal(engine(call(videos))["OUT"], computed(call(videos)))
        assert told == order, videos


def test_a_shape_that_was_not_used_for_long_is_new_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """OpenVINO may have dropped its kernels, and makes them anew."""
    monkeypatch.setattr(runners, "_KNOWN", 1)
    gathering_engine(tmp_path / "engine.onnx")
    engine = Engine(tmp_path / "engine", PARAMETERS, {"EMBEDDING"})
    at_once: list[int] = []
    monkeypatch.setattr(runners, "_run_at_once", lambda requests, calls: at_once.append(len(calls)))
    for videos, again in (([0, 1], 0), ([0, 1], 1), ([0, 0, 1, 1], 0), ([0, 0, 1, 1], 1), ([0, 1], 0)):
        at_once.clear()
        engine(call(videos))
        assert len(at_once) == again, videos


# What a process grows by, in kB, with the kernels of 100 shapes, after another 100.
GROWS = """
import sys
from pathlib import Path
import numpy as np
from masklet_build.embedded import runners
runners._KERNELS = int(sys.argv[2])
runner = runners.OpenVinoRunner(Path(sys.argv[1]), "fp32", 1, 1, "cpu")
sizes = []
for side in range(1, 201):
    runner([{"X": np.zeros((side, side), np.float32)}])
    sizes += [int(line.split()[1]) for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("RssAnon:")]
print(sizes[199] - sizes[99])
"""


def test_a_graph_keeps_no_more_kernels_than_it_is_told(tmp_path: Path):
    squaring_engine(tmp_path / "engine.onnx")
    environment = os.environ | {"ONEDNN_PRIMITIVE_CACHE_CAPACITY": "8"}  # oneDNN, below OpenVINO, keeps some too
    few, all_ = (
        int(subprocess.check_output([sys.executable, "-c", GROWS, tmp_path / "engine.onnx", str(count)], env=environment)) for count in (8, 5000)
    )
    assert few < all_ / 4

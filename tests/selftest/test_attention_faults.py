"""Wrong attention inside the graph, as fused kernels have had it: a scale that is lost or applied twice (NVIDIA/TensorRT issues 4333, 4328)."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import onnx
import pytest

from masklet.families import NANO
from masklet_build import nano
from masklet_build.check.engine_check import EngineReport, check_engines
from masklet_build.check.subject import OnnxStages, Subject
from masklet_build.export.fixtures.fixtures import Fixtures

SCALE = 1 / math.sqrt(NANO.hidden)  # of queries; one head as wide as the features
CORES = 2 * NANO.memory_layers


def rescaled(core: int, factor: float, path: Path) -> OnnxStages:
    """Engines of nano, in which the scores of one attention of memory_attention are multiplied by `factor`."""
    graph = onnx.load(nano.ENGINES / "memory_attention.onnx")
    softmax = [node for node in graph.graph.node if node.op_type == "Softmax"][core]
    place = list(graph.graph.node).index(softmax)
    graph.graph.initializer.append(onnx.numpy_helper.from_array(np.array(factor, np.float32), "wrong_factor"))
    graph.graph.node.insert(place, onnx.helper.make_node("Mul", [softmax.input[0], "wrong_factor"], ["wrong_scores"]))
    graph.graph.node[place + 1].input[0] = "wrong_scores"
    onnx.save(graph, path / "memory_attention.onnx")
    return OnnxStages({"memory_attention": path / "memory_attention.onnx"})


def check(stages: OnnxStages, subject: Subject, shipped: Fixtures, precision: str) -> EngineReport:
    """Asks one profile, that of most frames, with one object: every call of it has to be wrong."""
    steady = [profile for profile in subject.table["memory_attention"] if profile.name == "steady b1-2"]
    table = {name: steady if name == "memory_attention" else () for name in subject.table}
    return check_engines(NANO, stages, shipped, table, precision, lambda line: None)


@pytest.mark.parametrize("factor", [0.0, SCALE, 1 / SCALE], ids=["zero", "applied-twice", "lost"])
@pytest.mark.parametrize("core", range(CORES))
def test_a_wrong_scale_in_any_attention_is_caught(core: int, factor: float, subject: Subject, shipped: Fixtures, tmp_path: Path) -> None:
    """Even by the widest bar, and with one object, where no other row can be mixed in."""
    report = check(rescaled(core, factor, tmp_path), subject, shipped, "bf16")
    assert report.checked
    assert all(call.problem for call in report.checked)


def test_the_right_scale_is_right(subject: Subject, shipped: Fixtures, tmp_path: Path) -> None:
    """So what is caught above is the factor, not the way it is put in."""
    assert check(rescaled(1, 1.0, tmp_path), subject, shipped, "fp32").problems == []

"""The engines that travel with the package are what an export of the checkpoint beside them gives."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest

from masklet.contract import engines
from masklet.families import NANO
from masklet_build import nano
from masklet_build.embedded.runners import openvino_core
from masklet_build.export.onnx_export import CHECKED_SIZES, export
from masklet_build.export.onnx_files import store_as_half
from masklet_build.models.samples import sample_inputs

pytestmark = pytest.mark.torch

ENGINES = [model.name for model in engines(NANO)]


@pytest.fixture(scope="module")
def anew(tmp_path_factory):
    """An export in float32 throughout."""
    folder = tmp_path_factory.mktemp("nano") / "engines"
    export(NANO, nano.CHECKPOINT, folder)
    return folder


@pytest.fixture(scope="module")
def halved(anew, tmp_path_factory):
    """The same export, with weights stored as float16 where that loses nothing."""
    folder = tmp_path_factory.mktemp("halved")
    for path in anew.glob("*.onnx"):
        (folder / path.name).write_bytes(path.read_bytes())
        store_as_half(folder / path.name)
    return folder


def calls(engine: str) -> list[dict[str, np.ndarray]]:
    return [sample_inputs(engine, NANO, sizes, seed=11) for sizes in CHECKED_SIZES]


def run_onnxruntime(path, inputs) -> list[list[np.ndarray]]:
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return [session.run(None, given) for given in inputs]


def run_openvino(path, inputs, precision: str = "f32") -> list[list[np.ndarray]]:
    compiled = openvino_core().compile_model(path, "CPU", {"INFERENCE_PRECISION_HINT": precision})
    return [[value.copy() for value in compiled(given).values()] for given in inputs]


def run_openvino_bf16(path, inputs) -> list[list[np.ndarray]]:
    return run_openvino(path, inputs, "bf16")


@pytest.mark.parametrize("engine", ENGINES)
def test_an_export_of_the_shipped_checkpoint_computes_what_the_shipped_engines_compute(anew, engine):
    file = f"{engine}.onnx"
    wanted, got = (run_onnxruntime(folder / file, calls(engine)) for folder in (anew, nano.ENGINES))
    for a, b in zip(wanted, got, strict=True):
        for x, y in zip(a, b, strict=True):
            np.testing.assert_allclose(y, x, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("run", [run_onnxruntime, run_openvino, run_openvino_bf16], ids=["onnxruntime", "openvino", "openvino_bf16"])
@pytest.mark.parametrize("engine", ENGINES)
def test_half_storage_changes_no_bit_of_any_result(anew, halved, engine, run):
    wanted, got = (run(folder / f"{engine}.onnx", calls(engine)) for folder in (anew, halved))
    for a, b in zip(wanted, got, strict=True):
        for x, y in zip(a, b, strict=True):
            np.testing.assert_array_equal(x, y)


@pytest.mark.parametrize("engine", ["image_encoder", "mask_decoder", "memory_encoder"])
def test_half_storage_nearly_halves_the_large_files(anew, halved, engine):
    assert (halved / f"{engine}.onnx").stat().st_size < 0.6 * (anew / f"{engine}.onnx").stat().st_size


@pytest.mark.parametrize("value", [1 + 2**-12, 1e6, 2.0**-30])
def test_a_weight_that_half_precision_does_not_hold_exactly_stays(tmp_path, value):
    weights = np.ones((64, 64), np.float32)
    weights[3, 4] = value
    info = onnx.helper.make_tensor_value_info
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("MatMul", ["x", "kept"], ["y"]), onnx.helper.make_node("MatMul", ["y", "halved"], ["z"])],
        "two products",
        [info("x", onnx.TensorProto.FLOAT, (1, 64))],
        [info("z", onnx.TensorProto.FLOAT, (1, 64))],
        [onnx.numpy_helper.from_array(weights, "kept"), onnx.numpy_helper.from_array(np.ones_like(weights), "halved")],
    )
    onnx.save(onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8), tmp_path / "engine.onnx")
    store_as_half(tmp_path / "engine.onnx")
    stored = {tensor.name: tensor.data_type for tensor in onnx.load(tmp_path / "engine.onnx").graph.initializer}
    assert stored == {"kept": onnx.TensorProto.FLOAT, "halved.half": onnx.TensorProto.FLOAT16}

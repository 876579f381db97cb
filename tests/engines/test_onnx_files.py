"""Weights of a large engine lie in a second file, and go with it wherever it goes."""

from __future__ import annotations

import shutil

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import numpy_helper

from masklet_build.checkpoints.random_weights import random_checkpoint, save_official
from masklet_build.export import onnx_files
from masklet_build.export.onnx_export import export
from masklet_build.manifest import WEIGHTS, Manifest
from masklet_build.models.variants import scaled_down, variant
from masklet_build.repository.assemble import AssembleError, assemble

pytestmark = pytest.mark.torch

SMALL = scaled_down(variant("efficienttam_s_512"), 64)
LARGE = "image_encoder.onnx"


@pytest.fixture(scope="module")
def engines(tmp_path_factory):
    """Engines of which the image encoder counts as large."""
    folder = tmp_path_factory.mktemp("large")
    save_official(random_checkpoint(SMALL, seed=1), folder / "checkpoint.pt")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(onnx_files, "EXTERNAL_OVER", 50_000_000)
        export(SMALL, folder / "checkpoint.pt", folder / "engines")
    return folder / "engines"


def test_the_large_one_has_two_files_and_the_others_one(engines):
    files = Manifest.read(engines).files
    assert [name for name in files if name.endswith(WEIGHTS)] == [LARGE + WEIGHTS]
    assert set(files) == {path.name for path in engines.iterdir()} - {"manifest.json"}
    assert (engines / LARGE).stat().st_size < 1_000_000 < (engines / (LARGE + WEIGHTS)).stat().st_size


@pytest.mark.parametrize("target", ["embedded", "onnxruntime"])
def test_assembly_takes_both_files_along(engines, tmp_path, target):
    repository = assemble(SMALL.name, engines, tmp_path / "repository", target=target)
    folder = repository / "image_encoder" / "1"
    graph = folder / {"embedded": "engine.onnx", "onnxruntime": "model.onnx"}[target]
    image = np.zeros((1, 64, 64, 3), np.uint8)
    outputs = [onnxruntime.InferenceSession(str(file)).run(None, {"IMAGE": image})[0] for file in (graph, engines / LARGE)]
    assert np.array_equal(*outputs)


def test_assembly_refuses_weights_that_are_not_the_exported_ones(engines, tmp_path):
    shutil.copytree(engines, tmp_path / "engines")
    with (tmp_path / "engines" / (LARGE + WEIGHTS)).open("r+b") as file:
        file.write(b"\1")
    with pytest.raises(AssembleError, match=f"{LARGE}{WEIGHTS} is missing or not the file"):
        assemble(SMALL.name, tmp_path / "engines", tmp_path / "repository")


def test_half_storage_keeps_the_second_file_in_step(tmp_path, monkeypatch):
    monkeypatch.setattr(onnx_files, "EXTERNAL_OVER", 10_000)
    weights = np.arange(20_000, dtype=np.float32).reshape(100, 200) % 512
    node = onnx.helper.make_node("MatMul", ["x", "w"], ["y"])
    values = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [1, size]) for name, size in (("x", 100), ("y", 200))]
    graph = onnx.helper.make_graph([node], "g", values[:1], values[1:], [numpy_helper.from_array(weights, "w")])
    path = tmp_path / "e.onnx"
    onnx_files.save(onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=9), path)
    before = (tmp_path / f"e.onnx{WEIGHTS}").stat().st_size
    onnx_files.store_as_half(path)
    assert (tmp_path / f"e.onnx{WEIGHTS}").stat().st_size == before // 2
    x = np.ones((1, 100), dtype=np.float32)
    assert np.array_equal(onnxruntime.InferenceSession(str(path)).run(None, {"x": x})[0][0], weights.sum(axis=0))

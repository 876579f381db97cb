"""An export is complete and checked, or leaves nothing."""

from __future__ import annotations

import hashlib
import json

import numpy as np
import pytest
import torch

from masklet.contract import CONTRACT_VERSION
from masklet_build.checkpoints.loading import CheckpointError, source_of
from masklet_build.checkpoints.random_weights import save_official
from masklet_build.common import OutputExists
from masklet_build.export import onnx_export
from masklet_build.export.bars import worst_excess
from masklet_build.export.onnx_export import ExportError, export
from masklet_build.manifest import Manifest

pytestmark = pytest.mark.torch

FILES = {f"{engine}.onnx" for engine in ("image_encoder", "mask_prompt", "memory_attention", "mask_decoder", "memory_encoder")}


@pytest.fixture
def checkpoint(network, tmp_path):
    save_official(network("efficienttam_ti_512", 64).state, tmp_path / "weights.pt")
    return tmp_path / "weights.pt"


@pytest.fixture
def tiny(network):
    return network("efficienttam_ti_512", 64).variant


def test_the_manifest_names_variant_checkpoint_and_every_file(tiny, checkpoint, tmp_path):
    lines = []
    manifest = export(tiny, checkpoint, tmp_path / "deep" / "engines", progress=lines.append)
    folder = tmp_path / "deep" / "engines"
    assert {path.name for path in folder.iterdir()} == FILES | {"manifest.json"}
    assert Manifest.read(folder) == manifest
    assert manifest.variant == tiny.name
    source = source_of(checkpoint, tiny)
    assert manifest.checkpoint == {"name": "weights.pt", "sha256": hashlib.sha256(checkpoint.read_bytes()).hexdigest(), "source": source}
    assert source.startswith("not an official file")
    assert f"weights.pt is {source}" in lines
    assert manifest.files == {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in FILES}
    assert (manifest.contract_version, manifest.opset, manifest.precision) == (CONTRACT_VERSION, onnx_export.OPSET, "fp32")
    assert manifest.tools["torch"] == torch.__version__
    assert [line for line in lines if "memory_attention" in line] == ["exporting memory_attention", "checking memory_attention"]


def test_an_existing_folder_is_kept_unless_forced(tiny, checkpoint, tmp_path):
    out = tmp_path / "engines"
    out.mkdir()
    (out / "manifest.json").write_text("old")
    (out / "precious").write_text("old")
    with pytest.raises(OutputExists, match="exists already"):
        export(tiny, checkpoint, out)
    assert (out / "precious").read_text() == "old"
    export(tiny, checkpoint, out, force=True)
    assert {path.name for path in out.iterdir()} == FILES | {"manifest.json"}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["engines", "weights.pt"]


def test_an_engine_that_computes_something_else_fails_the_export_and_leaves_nothing(tiny, checkpoint, tmp_path, monkeypatch):
    real = onnx_export.export_engine

    def broken(stage, model, variant, path, opset):
        if model.name == "memory_encoder":
            stage.source.out_proj.bias.data += 1e-2
        real(stage, model, variant, path, opset)
        if model.name == "memory_encoder":
            stage.source.out_proj.bias.data -= 1e-2

    monkeypatch.setattr(onnx_export, "export_engine", broken)
    with pytest.raises(ExportError, match="memory_encoder: output MEMORY differs from PyTorch"):
        export(tiny, checkpoint, tmp_path / "engines")
    assert [path.name for path in tmp_path.iterdir()] == ["weights.pt"]


def test_a_wrong_checkpoint_leaves_nothing(tiny, tmp_path):
    with pytest.raises(CheckpointError):
        export(tiny, tmp_path / "absent.pt", tmp_path / "engines")
    assert list(tmp_path.iterdir()) == []


def test_a_manifest_of_another_shape_is_refused(tmp_path):
    (tmp_path / "manifest.json").write_text(json.dumps({"variant": "x"}))
    with pytest.raises((TypeError, ValueError)):
        Manifest.read(tmp_path)


def test_the_bar_is_a_ten_thousandth_of_each_rows_deviation():
    wanted = np.random.default_rng(0).standard_normal((2, 1000)).astype(np.float32) * np.float32([[1], [100]])
    deviation = wanted.std(axis=1)
    off = np.zeros_like(wanted)
    off[0, 3] = 1e-4 * deviation[0]
    assert worst_excess(wanted + off, wanted) == pytest.approx(1, rel=1e-2)
    off[0, 3] = 1e-4 * deviation[1]
    assert worst_excess(wanted + off, wanted) > 50


def test_the_bar_is_at_least_1e_5_and_for_single_numbers_relative_to_them_or_to_1():
    constant = np.full((1, 10), 5, dtype=np.float32)
    assert worst_excess(constant + np.float32(1e-4), constant) == pytest.approx(10, rel=1e-2)
    assert worst_excess(np.float32([10.01]), np.float32([10.0])) == pytest.approx(10, rel=1e-2)
    assert worst_excess(np.float32([2e-4]), np.float32([0.0])) == pytest.approx(2, rel=1e-2)


def test_nan_another_shape_and_another_type_are_never_within_the_bar():
    wanted = np.ones((2, 3), dtype=np.float32)
    assert worst_excess(np.full_like(wanted, np.nan), wanted) == np.inf
    assert worst_excess(wanted[:1], wanted) == np.inf
    assert worst_excess(wanted.astype(np.float64), wanted) == np.inf

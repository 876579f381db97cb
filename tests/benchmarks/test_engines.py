"""Engines that fit are used again; others are not. Without torch, so an export shows as the ImportError that it begins with."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.engines import ready_engines
from masklet.families import variant
from masklet_build.manifest import Manifest, file_sha256

VARIANT = variant("efficienttam_ti_512")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with engines of VARIANT, of a file `official.pt` beside them."""
    monkeypatch.setitem(sys.modules, "masklet_build.export.onnx_export", None)
    (tmp_path / "official.pt").write_bytes(b"weights")
    engines = tmp_path / "engines"
    engines.mkdir()
    (engines / "image_encoder.onnx").write_bytes(b"graph")
    checkpoint = {"name": "official.pt", "sha256": file_sha256(tmp_path / "official.pt")}
    files = {"image_encoder.onnx": file_sha256(engines / "image_encoder.onnx")}
    Manifest.now(variant=VARIANT.name, checkpoint=checkpoint, opset=17, tools={}, files=files).write(engines)
    return tmp_path


def ready(folder: Path, name: str = VARIANT.name, checkpoint: str | None = "official.pt") -> Path:
    return ready_engines(folder, variant(name), folder / checkpoint if checkpoint else None, lambda line: None)


def test_engines_of_the_same_checkpoint_are_used_again(folder: Path) -> None:
    assert ready(folder) == folder / "engines"


def test_a_damaged_engine_is_not(folder: Path) -> None:
    (folder / "engines" / "image_encoder.onnx").write_bytes(b"grap")
    with pytest.raises(ImportError):
        ready(folder)


def test_engines_of_another_checkpoint_are_not(folder: Path) -> None:
    (folder / "official.pt").write_bytes(b"other weights")
    with pytest.raises(ImportError):
        ready(folder)


def test_engines_of_a_real_checkpoint_do_not_pass_for_random_ones(folder: Path) -> None:
    with pytest.raises(ImportError):
        ready(folder, checkpoint=None)


def test_engines_of_another_variant_are_not(folder: Path) -> None:
    with pytest.raises(ImportError):
        ready(folder, name="efficienttam_s_512")


def test_engines_for_another_contract_are_not(folder: Path) -> None:
    manifest = Manifest.read(folder / "engines")
    replace(manifest, contract_version=manifest.contract_version + 1).write(folder / "engines")
    with pytest.raises(ImportError):
        ready(folder)

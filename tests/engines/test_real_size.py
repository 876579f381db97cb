"""Two exports at the size of real weights; the others are checked small here, and at their own size whenever they are exported."""

from __future__ import annotations

import pytest

from masklet.families import variant
from masklet_build.checkpoints import loading
from masklet_build.checkpoints.random_weights import random_checkpoint, save_official
from masklet_build.export.onnx_export import export

pytestmark = [pytest.mark.torch, pytest.mark.slow]  # the networks of tests/engines/test_graphs.py, larger


def test_the_512_pixel_variant_exports_within_the_bar(tmp_path):
    real = variant("efficienttam_ti_512")
    save_official(random_checkpoint(real, seed=5), tmp_path / "weights.pt")
    manifest = export(real, tmp_path / "weights.pt", tmp_path / "engines")
    assert len(manifest.files) == 5


def test_nano_exports_within_the_bar_from_its_own_kind_of_file(tmp_path):
    loading.save_checkpoint(tmp_path / "nano.safetensors", random_checkpoint(variant("nano"), seed=5), metadata={})
    manifest = export(variant("nano"), tmp_path / "nano.safetensors", tmp_path / "engines")
    assert manifest.checkpoint["name"] == "nano.safetensors"
    assert len(manifest.files) == 5

"""Stages that TensorRT for RTX once refused, or did not fuse, of small variants, with parameters as PyTorch makes them."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("torch")
pytest.importorskip("tensorrt_rtx_bindings")

from masklet.contract import engines
from masklet_build.engines.builder import Built, build
from masklet_build.engines.compilers import compiler_of
from masklet_build.engines.plans import RTX, Settings
from masklet_build.export.onnx_export import export_engine, opset_of
from masklet_build.export.precision.choice import Choice
from masklet_build.export.precision.plan import Plan
from masklet_build.export.profiles import Limits, profiles
from masklet_build.models.network import Network, build_stages, official_names
from masklet_build.models.variants import variant

pytestmark = [pytest.mark.torch, pytest.mark.engines]


def compiled(name: str, engine: str, precision: str, folder: Path) -> Built:
    """A stage as it is exported in a type, in TensorRT's profiles for up to two objects."""
    small, choice = variant(name), Choice.of(variant(name), precision, precision)
    names, model = official_names(small), next(model for model in engines(small) if model.name == engine)
    stage = build_stages({names[key]: value for key, value in Network(small).state_dict().items()}, small)[engine]
    path = folder / f"{engine}.onnx"
    export_engine(Plan(choice).stage(engine, stage), model, small, path, opset_of(choice))
    return build(compiler_of(RTX), model, small, path, profiles(small, Limits.of(small, objects=2))[engine], Settings(), b"", folder / "log")


def test_sam3s_transposed_convolutions_are_built_in_bf16(tmp_path: Path) -> None:
    (kernels,) = compiled("sam3:2@336", "image_encoder", "bf16", tmp_path).kernels
    assert (kernels.attention, kernels.softmax) == (2, 0)


@pytest.mark.parametrize("precision", ["bf16", pytest.param("fp16", marks=pytest.mark.slow)])
def test_every_attention_of_edgetams_memory_encoder_is_fused_for_one_object_and_for_more(precision: str, tmp_path: Path) -> None:
    """Two layers, each with latents that look at everything and at each other, and latents that look at their windows."""
    (kernels,) = compiled("edgetam@512", "memory_encoder", precision, tmp_path).kernels
    assert (kernels.attention, kernels.softmax) == (6, 0)

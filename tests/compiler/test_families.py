"""nano and one small variant of each family through the compiler: all attention is fused, memory is bounded, and there is nothing to complain of.

Weights are random; nothing is run.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import onnx
import pytest

pytest.importorskip("torch")
pytest.importorskip("tensorrt_rtx_bindings")

from benchmarks.engines import write_graphs
from masklet.contract import engines
from masklet.families import NANO
from masklet_build.checkpoints.random_weights import random_parameters
from masklet_build.engines.builder import Built, build
from masklet_build.engines.compilers import compiler_of
from masklet_build.engines.plans import RTX, Settings
from masklet_build.export.onnx_export import BF16_OPSET, export_engine
from masklet_build.export.precision import layers
from masklet_build.export.precision.choice import Choice
from masklet_build.export.precision.rewrite import typed_stage
from masklet_build.export.profiles import Limits, Profile, profiles
from masklet_build.models.network import build_stages
from masklet_build.models.variants import variant

pytestmark = pytest.mark.torch

# Sides that the tests of exports use. EfficientTAM's is the official one, for which unfused scores would be far larger than all else.
SMALL = ("efficienttam_ti_512", "sam2.1_t@256", "sam3:2@336", "edgetam@256")
WIDE, NARROW = True, False
CASES = [
    *(pytest.param(("nano", precision, WIDE), id=f"nano {precision}") for precision in ("fp16", "bf16")),
    *(pytest.param((name, "bf16", WIDE), id=f"{name} bf16") for name in SMALL),
    *(pytest.param((name, "fp16", WIDE), id=f"{name} fp16", marks=pytest.mark.slow) for name in SMALL),
    *(pytest.param((name, "bf16", NARROW), id=f"{name} bf16 narrow", marks=pytest.mark.slow) for name in SMALL),
]
SIZES = {kind: onnx.helper.tensor_dtype_to_np_dtype(kind).itemsize for kind in onnx.TensorProto.DataType.values() if kind not in (0, 8)}

# What a stage holds at a time, in sizes of its largest tensor: the residual sum, its norm, queries, keys and values before and after rotation, the
# same once more in the type of the products. Scores are not among them: of one head and 1024 queries they are four times as large as the keys.
AT_A_TIME = 10
ALWAYS = 16 << 20  # bytes that engines take at any size: products are summed in parts, convolutions are laid out as products


@dataclass(frozen=True)
class Compiled:
    """An engine, its profiles, and the file of the compiler's log."""

    graph: Path
    table: tuple[Profile, ...]
    built: Built
    log: Path


@pytest.fixture(scope="module", params=CASES)
def compiled(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Compiled]:
    """Engine -> what became of it. Both types are said, so that attention has the one of the case whatever suits the number of keys."""
    name, precision, wide = request.param
    folder = tmp_path_factory.mktemp("compiled")
    write_graphs(folder, variant(name), Choice(precision, precision, "tensorrt"))
    return dict(made(name, folder, wide))


def made(name: str, folder: Path, wide: bool) -> Iterator[tuple[str, Compiled]]:
    subject, compiler = variant(name), compiler_of(RTX)
    table = profiles(subject, Limits.of(subject), wide=wide)
    for model in engines(subject):
        graph, log = folder / f"{model.name}.onnx", folder / f"{model.name}.log"
        built = build(compiler, model, subject, graph, table[model.name], Settings(), b"", log)
        yield model.name, Compiled(graph, table[model.name], built, log)


def test_every_attention_is_fused_in_every_profile(compiled: Mapping[str, Compiled]) -> None:
    for engine, one in compiled.items():
        counts = {profile.name: (kernels.attention, kernels.softmax) for profile, kernels in zip(one.table, one.built.kernels, strict=True)}
        assert counts == {profile.name: (one.built.softmax_nodes, 0) for profile in one.table}, engine
    assert {"memory_attention", "mask_decoder"} <= {engine for engine, one in compiled.items() if one.built.softmax_nodes}


def test_memory_is_that_of_a_few_tensors_and_never_of_scores(compiled: Mapping[str, Compiled]) -> None:
    for engine, one in compiled.items():
        for profile, memory in zip(one.table, one.built.memory, strict=True):
            assert memory <= ALWAYS + AT_A_TIME * largest_tensor(one.graph, profile), (engine, profile.name)


def test_the_compiler_warns_of_nothing(compiled: Mapping[str, Compiled]) -> None:
    for engine, one in compiled.items():
        assert one.built.warnings == (), engine
        assert [line for line in one.log.read_text().splitlines() if "ERROR]" in line] == [], engine


@pytest.mark.parametrize(
    "engine", [pytest.param("memory_attention", id="values narrower than keys"), pytest.param("mask_decoder", id="heads of eight")]
)
def test_attention_of_widths_that_are_not_filled_is_seen_unfused(engine: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layers, "_widened", lambda x, by: x)
    model = next(model for model in engines(NANO) if model.name == engine)
    stage = typed_stage(build_stages(random_parameters(NANO, 0), NANO)[engine], Choice("bf16", "bf16", "tensorrt"))
    export_engine(stage, model, NANO, tmp_path / "graph.onnx", BF16_OPSET)
    table = profiles(NANO, Limits.of(NANO), wide=True)[engine]
    built = build(compiler_of(RTX), model, NANO, tmp_path / "graph.onnx", table, Settings(), b"", tmp_path / "log")
    for kernels in built.kernels:
        assert kernels.attention < built.softmax_nodes
        assert kernels.attention + kernels.softmax == built.softmax_nodes


def largest_tensor(path: Path, profile: Profile) -> int:
    """Bytes of the largest tensor in a graph for the profile's largest call, scores aside."""
    model = onnx.load(path)
    for value in model.graph.input:
        for dim, size in zip(value.type.tensor_type.shape.dim, profile.inputs[value.name].max, strict=True):
            dim.dim_value = size
    for value in model.graph.output:
        value.type.tensor_type.ClearField("shape")
    scores = {name for node in model.graph.node if node.op_type == "Softmax" for name in (*node.input, *node.output)}
    inferred = onnx.shape_inference.infer_shapes(model, data_prop=True).graph.value_info
    return max(_bytes(value.type.tensor_type) for value in inferred if value.name not in scores)


def _bytes(tensor: onnx.TypeProto.Tensor) -> int:
    return SIZES[tensor.elem_type] * math.prod(dim.dim_value for dim in tensor.shape.dim)

"""Typed exports: the types are in the graphs, the graphs are what TensorRT takes, and what is broken does not get out."""

from __future__ import annotations

from collections import Counter
from functools import partial

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, defs

from masklet.contract import engines
from masklet.families import NANO
from masklet_build import cli, nano
from masklet_build.checkpoints.random_weights import random_checkpoint
from masklet_build.export import onnx_export
from masklet_build.export.bars import ROUNDED
from masklet_build.export.lint.check import lint_file
from masklet_build.export.lint.graph import Graph
from masklet_build.export.onnx_export import BF16_OPSET, CHECKED_SIZES, ExportError, export, export_engine, opset_of
from masklet_build.export.precision import check
from masklet_build.export.precision.choice import Choice
from masklet_build.export.precision.plan import Plan
from masklet_build.export.precision.rewrite import layers
from masklet_build.manifest import Manifest
from masklet_build.models.samples import Sizes, sample_inputs
from masklet_build.models.stages import TorchStages
from masklet_build.models.variants import variant
from tests.reference.narrow import narrow_sam3

pytestmark = pytest.mark.torch

FP16, BF16 = Choice("fp16", "fp16", "tensorrt"), Choice("bf16", "bf16", "tensorrt")
ENGINES = tuple(model.name for model in engines(NANO))
TYPES = {"fp16": TensorProto.FLOAT16, "bf16": TensorProto.BFLOAT16}


@pytest.fixture(scope="module")
def fp16(tmp_path_factory, film):
    folder = tmp_path_factory.mktemp("fp16") / "engines"
    lines: list[str] = []
    export(NANO, nano.CHECKPOINT, folder, choice=FP16, film=film, sizes=CHECKED_SIZES[1:3], progress=lines.append)
    return folder, lines


@pytest.fixture(scope="module")
def bf16(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bf16") / "engines"
    export(NANO, nano.CHECKPOINT, folder, choice=BF16, sizes=CHECKED_SIZES[1:2])
    return folder


def test_the_manifest_says_what_was_made(fp16, bf16):
    folder, lines = fp16
    manifest = Manifest.read(folder)
    assert (manifest.precision, manifest.attention, manifest.purpose, manifest.opset) == ("fp16", "fp16", "tensorrt", onnx_export.OPSET)
    assert (manifest.kept_fp32, manifest.vanishing) == ((), {})
    assert sum("range scan: frame" in line for line in lines) == 4
    for read, limit in ((manifest, ROUNDED["fp16"]), (Manifest.read(bf16), ROUNDED["bf16"])):
        assert set(read.differences) == set(ENGINES)
        assert all(0 <= value < limit for outputs in read.differences.values() for value in outputs.values())
        assert max(read.differences["image_encoder"].values()) > 1e-4, "nothing was reduced"
    assert Manifest.read(bf16).opset == BF16_OPSET


@pytest.mark.parametrize("name", ["fp16", "bf16"])
def test_projections_and_convolutions_are_reduced_in_the_graph_and_norms_are_not(name, fp16, bf16, reference):
    folder = fp16[0] if name == "fp16" else bf16
    for engine, stage in reference.stages.items():
        graph = Graph(onnx.load(folder / f"{engine}.onnx"))
        weighted = [node for node in graph.of_type("MatMul", "Gemm", "Conv") if graph.is_constant(node.input[1])]
        found = Counter(graph.type(node.input[0]) == TYPES[name] for node in weighted)
        # float32: a product with a resize matrix in mask_prompt and memory_encoder, the Fourier code's in mask_decoder
        assert found[False] == {"mask_prompt": 1, "mask_decoder": 1, "memory_encoder": 1}.get(engine, 0), engine
        assert found[True] >= len(list(layers(stage))), engine  # more where a layer is used twice
        for node in graph.of_type("LayerNormalization", "ReduceSum", "Sin", "Cos", "Sigmoid", "Erf"):
            assert graph.type(node.input[0]) == TensorProto.FLOAT, node.name
        for node in graph.of_type("Softmax"):
            assert graph.type(node.input[0]) == TYPES[name]


def test_an_fp32_export_for_tensorrt_is_exact_and_lints_clean(tmp_path, capsys):
    assert cli.main(["export", "nano", "--out", str(tmp_path / "engines"), "--for", "tensorrt"]) == 0
    assert f"masklet-build engine nano --onnx {tmp_path / 'engines'} --out PLANS, on the GPU that will serve; for RTX" in capsys.readouterr().out
    manifest = Manifest.read(tmp_path / "engines")
    assert (manifest.precision, manifest.attention, manifest.purpose, manifest.differences) == ("fp32", "fp32", "tensorrt", {})
    assert cli.main(["lint", str(tmp_path / "engines")]) == 0


# At the sizes that other tests use, SAM 3 narrow, in one type each: pooled memory, high-resolution maps, soft masks and rivals, a perceiver.
FAMILIES = {
    "efficienttam_ti_512@64": "fp16",
    "efficienttam_ti_1@64": "bf16",
    "efficienttam_ti_2@64": "fp16",
    "sam2.1_t@64": "bf16",
    "sam3:2@336": "fp16",
    "edgetam@256": "bf16",
}


@pytest.mark.parametrize(("name", "precision"), FAMILIES.items())
def test_typed_engines_of_every_family_lint_clean(name, precision, tmp_path):
    small = variant(name)
    choice = Choice.of(small, precision, precision)
    with narrow_sam3():
        stages = TorchStages(random_checkpoint(small, seed=1), small).stages
        for model in engines(small):
            path = tmp_path / f"{model.name}.onnx"
            export_engine(Plan(choice).stage(model.name, stages[model.name]), model, small, path, opset_of(choice))
            assert [str(finding) for finding in lint_file(path, model, small, choice.purpose)] == []


def test_between_the_tracers_opset_and_that_of_bfloat16_operators_only_got_types(bf16):
    names = {node.op_type for file in bf16.glob("*.onnx") for node in onnx.load(file).graph.node}
    assert {"Conv", "MatMul", "LayerNormalization"} <= names
    for name in names:
        old, new = (defs.get_schema(name, opset) for opset in (onnx_export._TRACER_OPSET, BF16_OPSET))
        for part in ("inputs", "outputs"):
            assert [item.name for item in getattr(old, part)] == [item.name for item in getattr(new, part)], name
        assert set(old.attributes) <= set(new.attributes), name
        assert not [key for key in set(new.attributes) - set(old.attributes) if new.attributes[key].required], name


def test_graphs_that_round_are_as_far_from_fp32_as_the_modules_they_were_traced_from(fp16, bf16, reference):
    """The graph in ONNX Runtime with explicit rounding, the module in PyTorch's own half arithmetic: two ways to the same figure."""
    for folder, choice in ((fp16[0], FP16), (bf16, BF16)):
        in_torch = Plan(choice).stages(reference)
        for engine in ("image_encoder", "memory_attention", "memory_encoder"):
            calls = [sample_inputs(engine, NANO, Sizes(V=2) if engine == "image_encoder" else Sizes(V=2, B=3, F=2, P=3), seed=9)]
            with check.rounding_session(folder / f"{engine}.onnx") as run:
                graph = check.differences(engine, run, reference, calls, 1)
            module = check.differences(engine, partial(in_torch.call, engine), reference, calls, 1)
            for name, value in module.items():
                assert value / 2 < graph[name] < 2 * value, (choice, engine, name)


def test_fp16_graphs_load_and_run_in_onnx_runtime_as_they_are(fp16):
    for engine in ENGINES:
        session = onnxruntime.InferenceSession(str(fp16[0] / f"{engine}.onnx"), providers=["CPUExecutionProvider"])
        for value in session.run(None, sample_inputs(engine, NANO, Sizes(V=2) if engine == "image_encoder" else Sizes(V=2, B=3, F=2, P=3), seed=9)):
            assert np.isfinite(value).all()


def broken_export(stage, model, small, path, opset, *, wrong, engine):
    """Writes the engine of a stage in which something is wrong."""
    if model.name == engine:
        wrong(stage)
    export_engine(stage, model, small, path, opset)


def _scale(stage) -> None:
    stage.layers[0].scale *= 3


def _swap(stage) -> None:
    stage.source.pix_feat_proj.weight.data = stage.source.pix_feat_proj.weight.data.flip(0)


def _overflow(stage) -> None:
    stage.encoder.neck.convs[0].conv_3x3.weight.data.fill_(60000)


@pytest.mark.parametrize(
    ("engine", "wrong", "says"),
    [
        ("memory_attention", _scale, "CONDITIONED is off by"),
        ("memory_encoder", _swap, "MEMORY is off by"),
        ("image_encoder", _overflow, "of its values not finite"),
    ],
)
def test_an_engine_that_is_wrong_and_not_only_rounded_fails_the_export(engine, wrong, says, tmp_path, monkeypatch, film):
    monkeypatch.setattr(onnx_export, "export_engine", partial(broken_export, wrong=wrong, engine=engine))
    monkeypatch.setattr(onnx_export, "make_plan", lambda *args: Plan(FP16))
    with pytest.raises(ExportError, match=says):
        export(NANO, nano.CHECKPOINT, tmp_path / "engines", choice=FP16, film=film, sizes=CHECKED_SIZES[1:2])
    assert list(tmp_path.iterdir()) == []


def test_a_graph_that_tensorrt_would_not_take_fails_the_export(tmp_path, monkeypatch):
    monkeypatch.setattr(Plan, "stage", lambda self, engine, stage: stage)  # the forms for CPUs
    with pytest.raises(ExportError, match=r"(?s)image_encoder: TensorRT would not take the graph.*a norm that is written out as means"):
        export(NANO, nano.CHECKPOINT, tmp_path / "engines", choice=Choice("fp32", "fp32", "tensorrt"), sizes=CHECKED_SIZES[:1])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("to", "largest", "step"), [(TensorProto.FLOAT16, 65504, 2.0**-10), (TensorProto.BFLOAT16, 3e38, 2.0**-7)])
def test_a_rounding_session_rounds_inputs_weights_and_results_of_a_product(to, largest, step, tmp_path):
    """ONNX Runtime by itself would compute in float32, or not at all."""
    weight = onnx.helper.make_tensor("w", to, [2, 2], [1 + step, 0, 0, 1])
    info = onnx.helper.make_tensor_value_info
    nodes = [
        onnx.helper.make_node("Cast", ["x"], ["h"], to=to),
        onnx.helper.make_node("MatMul", ["h", "w"], ["p"]),
        onnx.helper.make_node("Cast", ["p"], ["y"], to=TensorProto.FLOAT),
    ]
    values = [info(name, TensorProto.FLOAT, ["B", 2]) for name in "xy"]
    graph = onnx.helper.make_graph(nodes, "product", values[:1], values[1:], [weight])
    onnx.save(onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8), tmp_path / "engine.onnx")
    with check.rounding_session(tmp_path / "engine.onnx") as run:
        got = run({"x": np.float32([[1 + step, 1 + step / 3], [1e5, 1e5]])})["y"]
    assert got[0].tolist() == [1 + 2 * step, 1], "the square of the last place of the product is gone, and a third of a step of the input"
    assert np.isfinite(got[1]).any() == (largest > 1e5)
    assert [file.name for file in tmp_path.iterdir()] == ["engine.onnx"]

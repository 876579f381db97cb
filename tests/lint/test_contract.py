"""Names, types and dimensions of a graph are the contract's, and the command says what is wrong in which engine."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import onnx
import pytest

from masklet import families
from masklet.contract import mask_prompt
from masklet_build import cli, nano
from masklet_build.export.lint.check import contract, lint, lint_file
from masklet_build.export.lint.graph import Graph
from masklet_build.manifest import Manifest
from tests.lint.graphs import model, rules

NANO = families.NANO
ENGINE = nano.ENGINES / "mask_prompt.onnx"


def changed(edit) -> Graph:
    made = onnx.load(ENGINE)
    edit(made.graph)
    return Graph(made)


def findings(graph: Graph) -> list[str]:
    return [str(finding) for finding in contract(graph, mask_prompt(NANO), NANO)]


def test_the_shipped_engines_keep_every_rule_for_cpus(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["lint", str(nano.ENGINES)]) == 0
    assert capsys.readouterr().out.count("no findings") == 5


def test_forms_are_asked_of_graphs_for_tensorrt_only() -> None:
    """The shipped engines have the forms for CPUs: norms of maps as means, heads of 8, values narrower than keys."""
    for engine, wanted in (("image_encoder", {"norm"}), ("memory_attention", {"attention"}), ("mask_decoder", {"attention", "norm"})):
        named = next(named for named in families_engines() if named.name == engine)
        assert lint_file(nano.ENGINES / f"{engine}.onnx", named, NANO, "cpu") == []
        assert set(rules(lint_file(nano.ENGINES / f"{engine}.onnx", named, NANO, "tensorrt"))) == wanted


def families_engines():
    from masklet.contract import engines

    return engines(NANO)


def test_a_renamed_output_is_found() -> None:
    def rename(graph: onnx.GraphProto) -> None:
        graph.output[1].name = "HIGH"
        next(node for node in graph.node if "LOW" in node.output).output[0] = "HIGH"

    assert "MASK_PROMPT, HIGH, PRESENT" in findings(changed(rename))[0]


def test_another_type_of_an_input_is_found() -> None:
    def cast(graph: onnx.GraphProto) -> None:
        graph.input[0].type.tensor_type.elem_type = onnx.TensorProto.BOOL

    assert "input MASK: type BOOL: masklet.contract says UINT8" in findings(changed(cast))[0]


def test_another_size_and_a_batch_of_another_name_are_found() -> None:
    def shrink(graph: onnx.GraphProto) -> None:
        graph.input[0].type.tensor_type.shape.dim[0].dim_param = "N"
        graph.input[0].type.tensor_type.shape.dim[1].dim_value = 128

    assert "['N', 128, 256]" in findings(changed(shrink))[0]


@pytest.mark.parametrize(("text", "dims"), [("float", "[]"), ("float[1,1,64,64]", "[1, "), ("float[?,1,64,64]", "[None, "), ("float[64,B]", "[64, ")])
def test_scalars_batches_in_the_middle_and_dimensions_without_a_name_are_found(text: str, dims: str) -> None:
    def reshape(graph: onnx.GraphProto) -> None:
        made = model(f"agraph ({text} x) => ({text} y) {{ y = Relu (x) }}").graph.output[0].type.tensor_type.shape
        graph.output[0].type.tensor_type.shape.CopyFrom(made)

    assert f"output MASK_PROMPT: dimensions {dims}" in findings(changed(reshape))[0]


def test_of_a_graph_that_is_not_well_typed_only_that_is_said() -> None:
    """What follows from one wrong type in a graph, whose shapes behind it are not known, would hide it."""
    made = onnx.load(nano.ENGINES / "memory_attention.onnx")
    next(node for node in made.graph.node if node.op_type == "MatMul").input[1] = "VIDEO"
    named = next(named for named in families_engines() if named.name == "memory_attention")
    findings = list(lint(Graph(made), named, NANO, "tensorrt"))
    assert rules(findings) == ["agreement"] * len(findings)
    assert 1 <= len(findings) <= 2, "what ONNX says of the model, and the node"


def test_an_operator_that_is_newer_than_the_opset_is_one_finding() -> None:
    def plant(graph: onnx.GraphProto) -> None:
        graph.node.add(op_type="BitwiseNot", input=["PRESENT"], output=["absent"])

    (finding,) = lint(changed(plant), mask_prompt(NANO), NANO, "tensorrt")
    assert "BitwiseNot: it is not in opset 17" in str(finding)


def test_the_command_names_engine_node_and_next_step(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for file in nano.ENGINES.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    replace(Manifest.read(tmp_path), purpose="tensorrt").write(tmp_path)
    assert cli.main(["lint", str(tmp_path)]) == 1
    out = capsys.readouterr().out
    assert "mask_prompt: no findings" in out
    assert "Fill the narrower ones with zeros" in out


def test_folders_without_engines_and_files_that_are_no_graphs_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["lint", str(tmp_path)]) == 1
    assert "has no manifest.json" in capsys.readouterr().err
    replace(Manifest.read(nano.ENGINES)).write(tmp_path)
    assert cli.main(["lint", str(tmp_path)]) == 1
    assert "image_encoder.onnx is missing" in capsys.readouterr().err
    (tmp_path / "image_encoder.onnx").write_text("not a graph")
    assert cli.main(["lint", str(tmp_path)]) == 1
    assert "is no ONNX file" in capsys.readouterr().err

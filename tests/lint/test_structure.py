"""What TensorRT's parser would refuse, or Triton could not capture, is found, and told with a next step."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from onnx import TensorProto, defs

from masklet_build.export.lint import operators, structure
from masklet_build.export.lint.findings import Finding
from masklet_build.export.lint.graph import Graph
from tests.lint.graphs import graph

CLEAN = """
agraph (uint8[V,8,8,3] IMAGE, int32[B] VIDEO) => (float[B,3,16,16] out)
<float[4] scales = {1.0, 1.0, 2.0, 2.0}>
{
    pixels = Cast <to = 1> (IMAGE)
    turned = Transpose <perm = [0, 3, 1, 2]> (pixels)
    wide = Resize <mode = "linear"> (turned, , scales)
    out = Gather <axis = 0> (wide, VIDEO)
}
"""

Rule = Callable[[Graph], Iterator[Finding]]


def found(rule: Rule, text: str, opset: int = 17) -> list[Finding]:
    findings = list(rule(graph(text, opset)))
    for finding in findings:
        assert all((finding.where, finding.what, finding.why, finding.next_step)), "a finding says where, what, why and what to do"
    return findings


@pytest.mark.parametrize("rule", structure.RULES, ids=lambda rule: rule.__name__)
def test_no_rule_objects_to_a_graph_that_is_as_it_should_be(rule: Rule) -> None:
    assert found(rule, CLEAN) == []


@pytest.mark.parametrize("opset", [7, 23])
def test_an_opset_that_the_parser_does_not_know_is_found(opset: int) -> None:
    (finding,) = found(structure.opset, "agraph (float[B] x) => (float[B] y) { y = Relu (x) }", opset)
    assert f"opset {opset}" in str(finding)


def test_operators_of_another_domain_are_found() -> None:
    made = graph(CLEAN)
    made.opsets["com.microsoft"] = 1
    (finding,) = structure.opset(made)
    assert "com.microsoft" in str(finding)


@pytest.mark.parametrize(
    ("body", "operator"),
    [
        ("n = NonZero (x)\n y = Cast <to = 1> (n)", "NonZero"),
        ("y = BitwiseNot (x)", "BitwiseNot"),
        ("s = SequenceConstruct (x)\n y = ConcatFromSequence <axis = 0> (s)", "SequenceConstruct"),
        ("c = Cast <to = 9> (x)\n y = If (c) <then_branch = a () => (float[B,2] z) { z = Identity (x) }, "
         "else_branch = b () => (float[B,2] w) { w = Neg (x) }>", "If"),
    ],
)  # fmt: skip
def test_operators_that_the_parser_lacks_or_that_are_forbidden_are_found(body: str, operator: str) -> None:
    findings = found(structure.known_operators, f"agraph (float[B,2] x) => (float[B,2] y) {{ {body} }}", 18)
    assert operator in findings[0].where


def test_every_forbidden_operator_is_one_of_onnx() -> None:
    assert [name for name in operators.FORBIDDEN if not defs.has(name)] == []


def test_every_operator_of_the_table_is_one_of_onnx() -> None:
    assert [name for name in operators.TYPES if not defs.has(name)] == []


@pytest.mark.parametrize(
    ("declared", "body"),
    [
        ("double", "y = Add (x, x)"),
        ("int32", "y = Clip (x)"),  # ONNX has integers there, TensorRT has not
        ("uint8", "y = Identity (x)"),
        ("int8", "y = Relu (x)"),
        ("complex64", "y = Transpose (x)"),
    ],
)
def test_a_type_that_the_parser_does_not_take_there_is_found(declared: str, body: str) -> None:
    findings = found(structure.types, f"agraph ({declared}[B,2] x) => ({declared}[B,2] y) {{ {body} }}")
    assert declared.upper() in findings[0].what


def test_indices_may_be_integers_where_values_are_floats() -> None:
    text = "agraph (float[B,2] x, int64[B] i) => (float[B,2] y) { y = Gather (x, i) }"
    assert found(structure.types, text) == []


def test_types_that_do_not_agree_are_found_where_they_meet() -> None:
    text = "agraph (float[B,2] x, float16[B,2] h) => (float[B,2] y) { a = Add (x, h)\n y = Cast <to = 1> (a) }"
    messages = [str(finding) for finding in found(structure.agreement, text)]
    assert any("x is FLOAT, h is FLOAT16" in message for message in messages)


def test_a_norm_in_fp16_with_a_float32_scale_is_found() -> None:
    text = """agraph (float16[B,8] x) => (float16[B,8] y) <float[8] scale = {1,1,1,1,1,1,1,1}> { y = LayerNormalization (x, scale) }"""
    messages = [str(finding) for finding in found(structure.agreement, text)]
    assert any("x is FLOAT16, scale is FLOAT" in message for message in messages)


def test_a_bfloat16_convolution_needs_the_opset_that_has_it() -> None:
    text = "agraph (bfloat16[B,1,4,4] x, bfloat16[1,1,1,1] w) => (bfloat16[B,1,4,4] y) { y = Conv (x, w) }"
    assert any("newer opset" in finding.next_step for finding in found(structure.agreement, text, 17))
    assert found(structure.agreement, text, 22) == []


def test_shapes_that_contradict_each_other_are_found() -> None:
    text = "agraph (float[2,3] x, float[4,5] w) => (float[2,5] y) { y = MatMul (x, w) }"
    assert found(structure.agreement, text)[0].where == "the model"


def test_bytes_must_be_cast_at_the_door() -> None:
    text = "agraph (uint8[B,2] x) => (uint8[B,2] y) { y = Transpose <perm = [0, 1]> (x) }"
    (finding,) = found(structure.bytes_only_at_the_door, text)
    assert finding.next_step == "Cast the input first"
    assert TensorProto.UINT8 in operators.TYPES["Cast"]


@pytest.mark.parametrize(
    "attributes",
    ['mode = "cubic"', 'mode = "linear", antialias = 1', 'mode = "linear", coordinate_transformation_mode = "tf_crop_and_resize"'],
)
def test_a_resize_in_a_mode_that_tensorrt_lacks_is_found(attributes: str) -> None:
    text = f"agraph (float[B,1,4,4] x) => (float[B,1,8,8] y) <float[4] s = {{1.0, 1.0, 2.0, 2.0}}> {{ y = Resize <{attributes}> (x, , s) }}"
    assert len(found(structure.resizes, text, 18)) == 1


def test_a_resize_by_sizes_is_found() -> None:
    text = 'agraph (float[B,1,4,4] x, int64[4] n) => (float[B,1,8,8] y) { y = Resize <mode = "linear"> (x, , , n) }'
    (finding,) = found(structure.resizes, text)
    assert finding.next_step == "Resize by scale_factor"


def test_a_resize_of_the_channels_is_found() -> None:
    text = 'agraph (float[B,1,4,4] x) => (float[B,2,8,8] y) <float[4] s = {1.0, 2.0, 2.0, 2.0}> { y = Resize <mode = "linear"> (x, , s) }'
    assert "scales" in found(structure.resizes, text)[0].what


@pytest.mark.parametrize(
    "body",
    [
        "y = ReduceSum (x, a)",
        "y = Unsqueeze (x, a)",
        "y, i = TopK (x, a)",
        'y = ScatterND <reduction = "add"> (x, n, x)',
    ],
)
def test_axes_and_counts_that_are_computed_and_scatters_that_add_are_found(body: str) -> None:
    text = f"agraph (float[B,2] x, int64[1] a, int64[B,1] n) => (float y) {{ {body} }}"
    assert len(found(structure.constant_axes, text)) == 1


def test_constant_axes_are_right() -> None:
    text = "agraph (float[B,2] x) => (float[B] y) <int64[1] a = {1}> { y = ReduceSum <keepdims = 0> (x, a) }"
    assert found(structure.constant_axes, text) == []


def test_an_input_that_decides_a_shape_is_found_through_what_is_computed_of_it() -> None:
    text = """agraph (float[B,4] x, int64[1] n) => (float y)
    <int64[1] one = {1}> { m = Add (n, one)  s = Concat <axis = 0> (one, m)  y = Reshape (x, s) }"""
    (finding,) = found(structure.shape_inputs, text)
    assert "input n decides a shape" in finding.what


def test_the_shape_of_an_input_may_decide_a_shape() -> None:
    text = """agraph (float[B,4] x) => (float[B,4] y) { s = Shape (x)  y = Reshape (x, s) }"""
    assert found(structure.shape_inputs, text) == []

"""What Triton could not capture as a CUDA graph, and types that contradict each other, are found, and told with a next step."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from onnx import defs

from masklet_build.export.lint import structure
from masklet_build.export.lint.graph import Finding, Graph
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


@pytest.mark.parametrize(
    ("body", "operator"),
    [
        ("n = NonZero (x)\n y = Cast <to = 1> (n)", "NonZero"),
        ("c = Cast <to = 9> (x)\n y = If (c) <then_branch = a () => (float[B,2] z) { z = Identity (x) }, "
         "else_branch = b () => (float[B,2] w) { w = Neg (x) }>", "If"),
    ],
)  # fmt: skip
def test_branches_and_shapes_that_depend_on_data_are_found(body: str, operator: str) -> None:
    findings = found(structure.operators, f"agraph (float[B,2] x) => (float[B,2] y) {{ {body} }}", 18)
    assert operator in findings[0].where


def test_every_forbidden_operator_is_one_of_onnx() -> None:
    assert [name for name in structure.FORBIDDEN if not defs.has(name)] == []


def test_types_that_do_not_agree_are_found_where_they_meet() -> None:
    text = "agraph (float[B,2] x, float16[B,2] h) => (float[B,2] y) { a = Add (x, h)\n y = Cast <to = 1> (a) }"
    messages = [str(finding) for finding in found(structure.agreement, text)]
    assert any("x is FLOAT, h is FLOAT16" in message for message in messages)


@pytest.mark.parametrize(("body", "name"), [("y = BitwiseNot (x)", "BitwiseNot"), ("y = com.microsoft.Gelu (x)", "com.microsoft Gelu")])
def test_operators_that_this_opset_of_onnx_lacks_are_found(body: str, name: str) -> None:
    """A newer one has BitwiseNot; the other one is of another domain."""
    (finding,) = structure.agreement(unchecked(f"agraph (int32[B,2] x) => (int32[B,2] y) {{ {body} }}"))
    assert name in finding.what
    assert "opset 17" in finding.why


def unchecked(text: str) -> Graph:
    """Without what ONNX's own inference says of it."""
    made = graph(text)
    made.inference_error = None
    return made


def test_a_norm_in_fp16_with_a_float32_scale_is_found() -> None:
    text = """agraph (float16[B,8] x) => (float16[B,8] y) <float[8] scale = {1,1,1,1,1,1,1,1}> { y = LayerNormalization (x, scale) }"""
    messages = [str(finding) for finding in found(structure.agreement, text)]
    assert any("x is FLOAT16, scale is FLOAT" in message for message in messages)


def test_a_bfloat16_convolution_needs_the_opset_that_has_it() -> None:
    text = "agraph (bfloat16[B,1,4,4] x, bfloat16[1,1,1,1] w) => (bfloat16[B,1,4,4] y) { y = Conv (x, w) }"
    assert any("newer opset" in finding.next_step for finding in found(structure.agreement, text, 17))
    assert found(structure.agreement, text, 22) == []


def test_constants_are_numbers_or_tensors() -> None:
    text = """agraph (float[B,4] x) => (float[4,B] y)
    { a = Constant <value_ints = [-1]> ()  b = Constant <value = int64[1] {4}> ()  s = Concat <axis = 0> (b, a)  y = Reshape (x, s) }"""
    assert found(structure.agreement, text) == []


def test_shapes_that_contradict_each_other_are_found() -> None:
    text = "agraph (float[2,3] x, float[4,5] w) => (float[2,5] y) { y = MatMul (x, w) }"
    assert found(structure.agreement, text)[0].where == "the model"


def test_an_input_that_decides_a_shape_is_found_through_what_is_computed_of_it() -> None:
    text = """agraph (float[B,4] x, int64[1] n) => (float y)
    <int64[1] one = {1}> { m = Add (n, one)  s = Concat <axis = 0> (one, m)  y = Reshape (x, s) }"""
    (finding,) = found(structure.shape_inputs, text)
    assert "input n decides a shape" in finding.what


def test_the_shape_of_an_input_may_decide_a_shape() -> None:
    text = """agraph (float[B,4] x) => (float[B,4] y) { s = Shape (x)  y = Reshape (x, s) }"""
    assert found(structure.shape_inputs, text) == []

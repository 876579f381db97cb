"""Graphs that are broken on purpose: what TensorRT for RTX refuses lint finds where it has a say, and the error names node, reason and next step."""

from __future__ import annotations

from pathlib import Path

import pytest

from masklet_build.engines.plans import BuildError
from tests.compiler.planted import compiled, linted, planted

pytest.importorskip("tensorrt_rtx_bindings")

pytestmark = pytest.mark.engines

HALF = "h = Cast <to = 10> (x)"
TWO_INTS = "i = Cast <to = 6> (x)\n l = Cast <to = 7> (x)"
UP = "float[4] twice = {1, 1, 2, 2}"
KERNEL = "{0}[1,1,2,2] w = {{1,1,1,1}}"
FLAT = "int64[3] flat = {-1,64,64}"

# name -> nodes, initializers, the rule of lint that finds it or none, the node that the error names, its reason
REFUSED = {
    "Add of fp16 and fp32": (f"{HALF}\n y = Add (x, h)", "", "agreement", "y", "must have same input types"),
    "Add of int32 and int64": (f"{TWO_INTS}\n s = Add (i, l)\n y = Cast <to = 1> (s)", "", "agreement", "s", "must have same input types"),
    "MatMul of bf16 and fp16": (
        f"{HALF}\n b = Cast <to = 16> (x)\n m = MatMul (b, h)\n y = Cast <to = 1> (m)", "", "agreement", "m", "must have same input types"),
    "a norm in fp16 with a scale in fp32": (
        f"{HALF}\n n = LayerNormalization (h, ones)\n y = Cast <to = 1> (n)", f"float[64] ones = {{{','.join('1' * 64)}}}", "agreement", "n",
        "must have identical types"),
    "Where of fp16 and fp32": (f"{HALF}\n c = Cast <to = 9> (x)\n y = Where (c, x, h)", "", "agreement", "y", "of same types"),
    "Concat of int32 and int64": (
        f"{TWO_INTS}\n j = Concat <axis = 0> (i, l)\n f = Cast <to = 1> (j)\n y = Add (x, f)", "", "agreement", "j", "all be of the same type"),
    "a shape that depends on data": (
        "n = NonZero (x)\n f = Cast <to = 1> (n)\n s = ReduceSum <keepdims = 0> (f)\n y = Add (x, s)", "", "operator", "n", "plugin"),
    "an operator that it lacks": ("i = Cast <to = 6> (x)\n n = BitwiseNot (i)\n y = Cast <to = 1> (n)", "", None, "n", "UNSUPPORTED_NODE"),
    "another that it lacks": ("d = Det (x)\n s = ReduceSum <keepdims = 0> (d)\n y = Add (x, s)", "", None, "d", "UNSUPPORTED_NODE"),
    "values that differ": ("u = Unique (x)\n s = ReduceSum <keepdims = 0> (u)\n y = Add (x, s)", "", "operator", "u", "UNSUPPORTED_NODE"),
    "an operator of somebody's own": ("y = our.own.Fancy (x)", "", "agreement", "y", "Plugin not found"),
    "uint8 that is reshaped": (
        "u = Cast <to = 2> (x)\n r = Reshape (u, flat)\n y = Cast <to = 1> (r)", FLAT, "refused", "u", "does not support UINT8"),
    "nine axes": ("r = Reshape (x, s)\n y = Reshape (r, flat)", f"int64[9] s = {{-1,1,1,1,1,1,1,64,64}}, {FLAT}", "refused", "r", "MAX_DIMS"),
    "a transposed convolution in bf16": (
        "b = Cast <to = 16> (x)\n c = Unsqueeze (b, one)\n memory = ConvTranspose <strides = [2, 2]> (c, w)\n f = Cast <to = 1> (memory)\n"
        "s = ReduceMax <keepdims = 0> (f)\n y = Add (x, s)", f"int64[1] one = {{1}}, {KERNEL.format('bfloat16')}", "refused", "memory", "deconv"),
}  # fmt: skip

# What it builds, so that lint must not forbid it.
BUILT = {
    "nothing": ("y = Identity (x)", "", 17),
    "an operator of opset 24": ("y = Swish (x)", "", 24),
    "opset 26": ("y = Relu (x)", "", 26),
    "a cubic resize": ('c = Unsqueeze (x, one)\n r = Resize <mode = "cubic"> (c, , twice)\n s = ReduceMax <keepdims = 0> (r)\n y = Add (x, s)',
                       f"int64[1] one = {{1}}, {UP}", 22),
    "a resize to sizes": (
        't = Resize <mode = "linear"> (x, , , s)\n m = ReduceMax <keepdims = 0> (t)\n y = Add (x, m)', "int64[3] s = {8,128,128}", 22),
    "3840 of the largest": ("r = Reshape (x, flat)\n v, i = TopK (r, k)\n m = ReduceMax <keepdims = 0> (v)\n y = Add (x, m)",
                            "int64[2] flat = {-1,4096}, int64[1] k = {3840}", 22),
    "integers": ("i = Cast <to = 6> (x)\n n = Neg (i)\n c = Clip (n, low, high)\n y = Cast <to = 1> (c)", "int32 low = {-9}, int32 high = {9}", 22),
    "eight axes": ("r = Reshape (x, s)\n y = Reshape (r, flat)", f"int64[8] s = {{-1,1,1,1,1,1,64,64}}, {FLAT}", 22),
    "a transposed convolution in fp16": (
        "h = Cast <to = 10> (x)\n c = Unsqueeze (h, one)\n t = ConvTranspose <strides = [2, 2]> (c, w)\n f = Cast <to = 1> (t)\n"
        "s = ReduceMax <keepdims = 0> (f)\n y = Add (x, s)", f"int64[1] one = {{1}}, {KERNEL.format('float16')}", 22),
    "heads of width 20": (
        "a = Slice (x, zero, twenty, last)\n q = Unsqueeze (a, one)\n h = Cast <to = 10> (q)\n t = Transpose <perm = [0, 1, 3, 2]> (h)\n"
        "s = MatMul (h, t)\n p = Softmax <axis = -1> (s)\n o = MatMul (p, h)\n f = Cast <to = 1> (o)\n"
        "m = ReduceMax <keepdims = 0> (f)\n y = Add (x, m)",
        "int64[1] zero = {0}, int64[1] one = {1}, int64[1] twenty = {20}, int64[1] last = {2}", 22),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_compiler_lint_and_message_agree_on_what_cannot_be_built(name: str, tmp_path: Path) -> None:
    body, numbers, rule, node, reason = REFUSED[name]
    graph = planted(body, numbers)
    with pytest.raises(BuildError) as caught:
        compiled(graph, tmp_path)
    said = str(caught.value)
    assert f"planted/{node}" in said
    assert reason in said
    assert "masklet-build " in said, "what to do next"
    assert "CUDA" not in said, "no GPU takes part"
    assert "--workspace-gib" not in said, "memory is not short, though a node is called so"
    assert {finding.rule for finding in linted(graph)} == ({rule} if rule else set())


@pytest.mark.parametrize("name", BUILT)
def test_what_the_compiler_builds_lint_does_not_forbid(name: str, tmp_path: Path) -> None:
    body, numbers, opset = BUILT[name]
    graph = planted(body, numbers, opset)
    assert linted(graph) == []
    assert compiled(graph, tmp_path).plan


def test_heads_of_width_20_are_fused(tmp_path: Path) -> None:
    body, numbers, opset = BUILT["heads of width 20"]
    (kernels,) = compiled(planted(body, numbers, opset), tmp_path).kernels
    assert (kernels.attention, kernels.softmax) == (1, 0)

"""Attention and norms in a form that TensorRT would not recognise are found."""

from __future__ import annotations

import pytest

from masklet_build.export.lint import forms
from tests.lint.graphs import FUSIBLE, graph, rules

HALF = FUSIBLE.format(q=32, v=32).replace("float[", "float16[").replace("<float scale = {0.125}>", "<float16 scale = {12288}>")  # the bits of 0.125

NORM = """
agraph (float[B,8,4,4] x) => (float[B,8,4,4] y)
<float tiny = {0.000001}>
{
    mean = ReduceMean <axes = [1]> (x)
    centred = Sub (x, mean)
    squares = Mul (centred, centred)
    variance = ReduceMean <axes = [1]> (squares)
    safe = Add (variance, tiny)
    deviation = Sqrt (safe)
    y = Div (centred, deviation)
}
"""


@pytest.mark.parametrize("width", [16, 20, 64, 256])
def test_attention_of_equal_widths_with_the_scale_in_front_is_right(width: int) -> None:
    assert list(forms.attention(graph(FUSIBLE.format(q=width, v=width)))) == []


def test_attention_in_one_reduced_type_with_a_mask_is_right() -> None:
    masked = HALF.replace("float16[B,8,96,32] v)", "float16[B,8,96,32] v, float16[1,1,1,96] mask)")
    masked = masked.replace("scores = MatMul (scaled, turned)", "bare = MatMul (scaled, turned)\n scores = Add (bare, mask)")
    assert list(forms.attention(graph(masked))) == []


@pytest.mark.parametrize(
    ("before", "after", "says"),
    [
        ("scores = MatMul (scaled, turned)", "bare = MatMul (q, turned)\n scores = Mul (bare, scale)", "Mul"),
        ("scores = MatMul (scaled, turned)", "bare = MatMul (q, turned)\n scores = Div (bare, scale)", "Div"),
        ("scores = MatMul (scaled, turned)", "bare = MatMul (scaled, turned)\n scores = Tanh (bare)", "Tanh"),
        ("<axis = -1>", "<axis = 2>", "axis 2"),
        ("weights = Softmax <axis = -1> (scores)", "raw = Softmax <axis = -1> (scores)\n weights = Mul (raw, scale)", "Mul"),
        (
            "scores = MatMul (scaled, turned)",
            "bare = MatMul (scaled, turned)\n top = ReduceMax <axes = [3]> (bare)\n scores = Sub (bare, top)",
            "Sub",
        ),
    ],
)
def test_what_stands_between_the_products_is_found(before: str, after: str, says: str) -> None:
    text = FUSIBLE.format(q=32, v=32)
    assert before in text
    findings = list(forms.attention(graph(text.replace(before, after))))
    assert rules(findings) == ["attention"]
    assert says in findings[0].what
    documented = "NVIDIA documents no such form for TensorRT" if says in ("Mul", "Div") else "TensorRT for RTX 1.7 does not fuse it"
    assert findings[0].why == f"{documented}, and unfused it keeps all scores in memory"


def test_a_float32_softmax_inside_fp16_attention_is_found() -> None:
    text = HALF.replace(
        "weights = Softmax <axis = -1> (scores)",
        "wide = Cast <to = 1> (scores)\n shares = Softmax <axis = -1> (wide)\n weights = Cast <to = 10> (shares)",
    )
    findings = list(forms.attention(graph(text)))
    assert rules(findings) == ["attention"]
    assert "Cast" in findings[0].what


def test_attention_of_rank_3_is_found() -> None:
    text = """agraph (float[B,64,32] q, float[B,32,96] k, float[B,96,32] v) => (float[B,64,32] out)
    { scores = MatMul (q, k)  weights = Softmax <axis = -1> (scores)  out = MatMul (weights, v) }"""
    assert "ranks [3]" in next(forms.attention(graph(text))).what


@pytest.mark.parametrize(("q", "v", "says"), [(8, 8, "width 8"), (264, 264, "width 264"), (256, 64, "values of width 64")])
def test_widths_that_no_kernel_has_are_found(q: int, v: int, says: str) -> None:
    findings = list(forms.attention(graph(FUSIBLE.format(q=q, v=v))))
    assert rules(findings) == ["attention"]
    assert says in findings[0].what


def test_attention_to_a_single_key_is_found() -> None:
    findings = list(forms.attention(graph(FUSIBLE.format(q=32, v=32).replace("8,96,", "8,1,"))))
    assert [finding.what for finding in findings] == ["a single key"]


def test_a_norm_written_out_as_means_is_found() -> None:
    findings = list(forms.norms(graph(NORM)))
    assert rules(findings) == ["norm"]
    assert "LayerNormalization" in findings[0].next_step


def test_a_root_of_something_else_is_no_norm() -> None:
    assert list(forms.norms(graph("agraph (float[B,2] x) => (float[B,2] y) { y = Sqrt (x) }"))) == []


def test_a_norm_in_a_reduced_type_and_further_outputs_of_one_are_found() -> None:
    ones = "<float16[8] scale = {1,1,1,1,1,1,1,1}>"
    text = f"agraph (float16[B,8] x) => (float16[B,8] y, float[B,1] mean) {ones} {{ y, mean = LayerNormalization (x, scale) }}"
    findings = list(forms.norms(graph(text)))
    assert [finding.what for finding in findings] == ["a norm in FLOAT16", "more than its first output is used"]

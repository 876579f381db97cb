"""What TensorRT for RTX refuses in words that lead nowhere is found: where, and what to write instead."""

from __future__ import annotations

import pytest

from masklet_build.export.lint import refused
from tests.lint.graphs import graph

TRANSPOSED = "agraph ({0}[1,1,4,4] x, {0}[1,1,2,2] w) => ({0}[1,1,8,8] y) {{ y = ConvTranspose <strides = [2, 2]> (x, w) }}"
BYTES = "agraph (uint8[2,3] x, int64[2] s) => (uint8[3,2] y) {{ {} }}"
AXES = "agraph (float[2,3] x) => (float[6] y) <int64[{0}] s = {{{1}}}, int64[1] flat = {{-1}}> {{ r = Reshape (x, s)\n y = Reshape (r, flat) }}"


def test_a_transposed_convolution_in_bf16_is_found_and_one_in_another_type_is_not() -> None:
    (finding,) = refused.transposed(graph(TRANSPOSED.format("bfloat16"), 22))
    assert finding.where == "ConvTranspose of y"
    assert "TensorRT for RTX 1.7 refuses" in finding.why
    assert "DepthToSpace" in finding.next_step
    for of_type in ("float16", "float"):
        assert list(refused.transposed(graph(TRANSPOSED.format(of_type), 22))) == []


@pytest.mark.parametrize(
    ("body", "where"),
    [
        ("r = Transpose (x)\n w = Cast <to = 1> (r)\n y = Cast <to = 2> (w)", "Transpose of r"),
        ("w = Cast <to = 1> (x)\n b = Cast <to = 2> (w)\n y = Reshape (b, s)", "Cast of b"),
    ],
)
def test_bytes_that_one_node_hands_to_another_are_found(body: str, where: str) -> None:
    (finding,) = refused.bytes_between(graph(BYTES.format(body)))
    assert finding.where == where
    assert "Cast" in finding.next_step


def test_bytes_may_come_in_and_go_out() -> None:
    body = "w = Cast <to = 1> (x)\n t = Transpose (w)\n y = Cast <to = 2> (t)"
    assert list(refused.bytes_between(graph(BYTES.format(body)))) == []


def test_nine_axes_are_found_and_eight_are_not() -> None:
    (finding,) = refused.ranks(graph(AXES.format(9, "1,1,1,1,1,1,1,2,3")))
    assert (finding.where, finding.what) == ("Reshape of r", "9 axes, where 8 are the most")
    assert list(refused.ranks(graph(AXES.format(8, "1,1,1,1,1,1,2,3")))) == []

"""Small graphs in ONNX's own text form, with something planted in them."""

from __future__ import annotations

import onnx
from onnx import parser

from masklet_build.export.lint.graph import Finding, Graph

FUSIBLE = """
agraph (float[B,8,64,{q}] q, float[B,8,96,{q}] k, float[B,8,96,{v}] v) => (float[B,8,64,{v}] out)
<float scale = {{0.125}}>
{{
    scaled = Mul (q, scale)
    turned = Transpose <perm = [0, 1, 3, 2]> (k)
    scores = MatMul (scaled, turned)
    weights = Softmax <axis = -1> (scores)
    out = MatMul (weights, v)
}}
"""


def graph(text: str, opset: int = 17) -> Graph:
    """The graph of a text."""
    return Graph(model(text, opset))


def model(text: str, opset: int = 17) -> onnx.ModelProto:
    """A model of a text."""
    return parser.parse_model(f'<ir_version: 8, opset_import: ["" : {opset}]>\n{text}')


def rules(findings: list[Finding]) -> list[str]:
    """Names of the rules that found something."""
    return [finding.rule for finding in findings]

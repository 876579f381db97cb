"""Rules on forms that TensorRT recognises: fused attention, and norms that keep float32. Only for graphs that are made for TensorRT."""

from __future__ import annotations

from collections.abc import Iterator

import onnx
from onnx import TensorProto

from masklet_build.export.lint.graph import Finding, Graph, attribute, place, type_name

# Rank, scale and widths: "Fused Attention" in TensorRT's documentation, which gives queries, keys and values one width; limits of the width:
# NVIDIA/TensorRT issues 2981 and 4167.
_WIDTHS = (16, 256, 8)  # from, to, multiple of
_MOVES = frozenset({"Transpose", "Reshape", "Squeeze", "Unsqueeze", "Slice", "Split"})
_SLOW = "TensorRT will not fuse it, and keeps all scores in memory"


def attention(graph: Graph) -> Iterator[Finding]:
    """MatMul, Softmax, MatMul of rank 4, of one type and one width, with the scale in front."""
    for softmax in graph.of_type("Softmax"):
        yield from _attention(graph, softmax)


def _attention(graph: Graph, softmax: onnx.NodeProto) -> Iterator[Finding]:
    products = [node for node in graph.users(softmax.output[0]) if node.op_type == "MatMul" and node.input[0] == softmax.output[0]]
    scores = graph.makers.get(softmax.input[0])
    if scores is not None and scores.op_type == "Add":  # a mask that is added
        scores = next((made for name in scores.input if (made := graph.makers.get(name)) is not None and made.op_type == "MatMul"), scores)
    if scores is None or scores.op_type != "MatMul" or len(products) != 1 or len(graph.users(softmax.output[0])) != 1:
        yield _unfused(softmax, _between(graph, softmax, scores), "Write attention as MatMul, Softmax, MatMul, with the scale on the queries before")
        return
    rank = len(graph.shape(softmax.input[0]) or ())
    if attribute(softmax, "axis", -1) not in (-1, rank - 1):
        yield _unfused(softmax, f"softmax over axis {attribute(softmax, 'axis')} of {rank}", "Put the keys last")
    values = (*scores.input, *scores.output, *softmax.output, *products[0].input, *products[0].output)
    ranks = {len(shape) for name in values if (shape := graph.shape(name)) is not None}
    if ranks != {4}:
        yield _unfused(softmax, f"ranks {sorted(ranks)}", "Use [batch, heads, tokens, width] throughout")
    found = {graph.type(name) for name in values}
    if len(found) > 1:
        yield _unfused(softmax, f"types {', '.join(sorted(map(type_name, found)))}", "Cast queries, keys and values, and nothing between")
    yield from _widths(graph, softmax, scores, products[0])


def _between(graph: Graph, softmax: onnx.NodeProto, scores: onnx.NodeProto | None) -> str:
    before = "an input" if scores is None else place(scores)
    after = [place(node) for node in graph.users(softmax.output[0])] or ["an output"]
    return f"{before} before it and {', '.join(after)} behind it, where two products should be"


def _widths(graph: Graph, softmax: onnx.NodeProto, scores: onnx.NodeProto, product: onnx.NodeProto) -> Iterator[Finding]:
    query, value = graph.shape(scores.input[0]), graph.shape(product.input[1])
    width, of_values = (shape[-1] if shape else None for shape in (query, value))
    least, most, step = _WIDTHS
    if not isinstance(width, int) or not isinstance(of_values, int):
        yield _unfused(softmax, f"queries of width {width}, values of width {of_values}", "Reshape to widths that are constants")
    elif not least <= width <= most or width % step:
        yield _unfused(softmax, f"heads of width {width}", f"Fill heads with zeros to a multiple of {step} from {least} to {most}")
    elif of_values != width:
        yield _unfused(softmax, f"values of width {of_values} for queries of width {width}", "Fill the narrower ones with zeros")


def _unfused(softmax: onnx.NodeProto, what: str, next_step: str) -> Finding:
    return Finding("attention", place(softmax), what, _SLOW, next_step)


def norms(graph: Graph) -> Iterator[Finding]:
    """A norm is one node, in float32, of which only the first output is used."""
    for node in graph.of_type("LayerNormalization"):
        found = graph.type(node.input[0])
        if found != TensorProto.FLOAT:
            why = "its squares overflow fp16, and lose digits in bf16"
            yield Finding("norm", place(node), f"a norm in {type_name(found)}", why, "Keep norms in float32")
        if len(list(filter(None, node.output))) > 1:
            yield Finding("norm", place(node), "more than its first output is used", "TensorRT has no other", "Use only the normalised values")
    for node in graph.of_type("Sqrt"):
        if _is_deviation(graph, node):
            why = "TensorRT does not know it for a norm: its sums take the type of what is around them"
            yield Finding("norm", place(node), "a norm that is written out as means", why, "Export for tensorrt, or use LayerNormalization")


def _is_deviation(graph: Graph, node: onnx.NodeProto) -> bool:
    """Whether a root is that of a mean of squares: ReduceMean, a small Add, Sqrt."""
    mean = graph.before(node.input[0], _MOVES | {"Add"})
    if mean is None or mean.op_type != "ReduceMean":
        return False
    squares = graph.makers.get(mean.input[0])
    return squares is not None and squares.op_type in ("Mul", "Pow")


RULES = (attention, norms)

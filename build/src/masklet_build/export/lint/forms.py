"""Rules on forms that TensorRT recognises: fused attention, and norms that keep float32. Only for graphs that are made for TensorRT."""

from __future__ import annotations

from collections.abc import Iterator

import onnx
from onnx import TensorProto

from masklet_build.export.lint.graph import Finding, Graph, attribute, place, type_name

# Of two compilers: TensorRT as NVIDIA documents it ("Fused Attention"; of widths NVIDIA/TensorRT issues 2981 and 4167 say 16 to 256, multiples of 8
# before 10.14), and TensorRT for RTX, which was asked (tests/compiler) and takes more: nearly any form between two products, but not all widths.
_DOCUMENTED, _ASKED = "NVIDIA documents no such form for TensorRT", "TensorRT for RTX 1.7 does not fuse it"
_TAKEN = frozenset({"Mul", "Div", "Cast"})  # by TensorRT for RTX, between products and softmax
_WIDTHS = (16, 256)
_MOVES = frozenset({"Transpose", "Reshape", "Squeeze", "Unsqueeze", "Slice", "Split"})


def attention(graph: Graph) -> Iterator[Finding]:
    """MatMul, Softmax, MatMul of rank 4 and one width, with the scale in front, over more keys than one."""
    for softmax in graph.of_type("Softmax"):
        yield from _attention(graph, softmax)


def _attention(graph: Graph, softmax: onnx.NodeProto) -> Iterator[Finding]:
    users = graph.users(softmax.output[0])
    products = [node for node in users if node.op_type == "MatMul" and node.input[0] == softmax.output[0]]
    scores = graph.makers.get(softmax.input[0])
    if scores is not None and scores.op_type == "Add":  # a mask that is added
        scores = next((made for name in scores.input if (made := graph.makers.get(name)) is not None and made.op_type == "MatMul"), scores)
    if scores is None or scores.op_type != "MatMul" or len(products) != 1 or len(users) != 1:
        between = {node.op_type for node in (*([scores] if scores else []), *users)} - {"MatMul"}
        why = _DOCUMENTED if between and between <= _TAKEN and len(users) == 1 else _ASKED
        next_step = "Write attention as MatMul, Softmax, MatMul, with the scale on the queries before"
        yield _unfused(softmax, _between(graph, softmax, scores), why, next_step)
        return
    rank = len(graph.shape(softmax.input[0]) or ())
    if attribute(softmax, "axis", -1) not in (-1, rank - 1):
        yield _unfused(softmax, f"softmax over axis {attribute(softmax, 'axis')} of {rank}", _ASKED, "Put the keys last")
    values = (*scores.input, *scores.output, *softmax.output, *products[0].input, *products[0].output)
    ranks = {len(shape) for name in values if (shape := graph.shape(name)) is not None}
    if ranks != {4}:
        why = _ASKED if min(ranks, default=0) < 4 else _DOCUMENTED
        yield _unfused(softmax, f"ranks {sorted(ranks)}", why, "Use [batch, heads, tokens, width] throughout")
    yield from _sizes(graph, softmax, scores, products[0])


def _between(graph: Graph, softmax: onnx.NodeProto, scores: onnx.NodeProto | None) -> str:
    before = "an input" if scores is None else place(scores)
    after = [place(node) for node in graph.users(softmax.output[0])] or ["an output"]
    return f"{before} before it and {', '.join(after)} behind it, where two products should be"


def _sizes(graph: Graph, softmax: onnx.NodeProto, scores: onnx.NodeProto, product: onnx.NodeProto) -> Iterator[Finding]:
    query, value = graph.shape(scores.input[0]), graph.shape(product.input[1])
    width, of_values = (shape[-1] if shape else None for shape in (query, value))
    least, most = _WIDTHS
    if not isinstance(width, int) or not isinstance(of_values, int):
        yield _unfused(softmax, f"queries of width {width}, values of width {of_values}", _DOCUMENTED, "Reshape to widths that are constants")
    elif not least <= width <= most:
        why = f"NVIDIA documents {least} to {most} for TensorRT, and TensorRT for RTX 1.7 fuses 9 to 256"
        yield _unfused(softmax, f"heads of width {width}", why, "Fill narrow heads with zeros, or take more of them")
    elif of_values != width:
        yield _unfused(softmax, f"values of width {of_values} for queries of width {width}", _ASKED, "Fill the narrower ones with zeros")
    if value and len(value) > 1 and value[-2] == 1:
        yield _unfused(softmax, "a single key", _ASKED, "Take the values as they are: the weight of a single key is 1")


def _unfused(softmax: onnx.NodeProto, what: str, why: str, next_step: str) -> Finding:
    return Finding("attention", place(softmax), what, f"{why}, and unfused it keeps all scores in memory", next_step)


def norms(graph: Graph) -> Iterator[Finding]:
    """A norm is one node, in float32, of which only the first output is used."""
    for node in graph.of_type("LayerNormalization"):
        found = graph.type(node.input[0])
        if found != TensorProto.FLOAT:
            why = "its squares overflow fp16, and lose digits in bf16"
            yield Finding("norm", place(node), f"a norm in {type_name(found)}", why, "Keep norms in float32")
        if len(list(filter(None, node.output))) > 1:
            yield Finding(
                "norm", place(node), "more than its first output is used", "TensorRT for RTX 1.7 refuses it", "Use only the normalised values"
            )
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

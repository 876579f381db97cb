"""Rules on what a compiler was seen to refuse though ONNX has it, and in words that lead nowhere. Only for graphs that are made for TensorRT."""

from __future__ import annotations

from collections.abc import Iterator

from onnx import TensorProto

from masklet_build.export.lint.graph import Finding, Graph, place

_REFUSED = "TensorRT for RTX 1.7 refuses it"
_MOST_AXES = 8


def transposed(graph: Graph) -> Iterator[Finding]:
    """No transposed convolution in bfloat16."""
    for node in graph.of_type("ConvTranspose"):
        if graph.type(node.input[0]) == TensorProto.BFLOAT16:
            next_step = "Write it as a convolution and DepthToSpace, or keep it in float32"
            yield Finding("refused", place(node), "a transposed convolution in BFLOAT16", _REFUSED, next_step)


def bytes_between(graph: Graph) -> Iterator[Finding]:
    """uint8 is for inputs and outputs of the graph: no node hands it to another."""
    for node in graph.nodes:
        for name in node.output:
            if graph.type(name) == TensorProto.UINT8 and graph.users(name):
                yield Finding("refused", place(node), f"it hands on UINT8 {name}", _REFUSED, "Cast an input before all else, an output last")


def ranks(graph: Graph) -> Iterator[Finding]:
    """No value has more axes than eight."""
    for node in graph.nodes:
        for name in node.output:
            if (axes := len(graph.shape(name) or ())) > _MOST_AXES:
                yield Finding("refused", place(node), f"{axes} axes, where {_MOST_AXES} are the most", _REFUSED, "Join axes that stay side by side")


RULES = (transposed, bytes_between, ranks)

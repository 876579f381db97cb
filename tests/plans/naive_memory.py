"""What a graph needs when its nodes run one after another."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx
from onnx import helper, shape_inference


def sized(path: Path, shapes: Mapping[str, Sequence[int]]) -> onnx.GraphProto:
    """The graph for inputs of these shapes, with the shape of every tensor that follows from them."""
    model = onnx.load(path)
    for tensor in model.graph.input:
        for dim, size in zip(tensor.type.tensor_type.shape.dim, shapes[tensor.name], strict=True):
            dim.dim_value = size  # in place of its name
    for tensor in model.graph.output:
        tensor.type.tensor_type.ClearField("shape")
    del model.graph.value_info[:]
    return shape_inference.infer_shapes(model, strict_mode=True, data_prop=True).graph


def bytes_of(graph: onnx.GraphProto) -> dict[str, int]:
    """Tensor -> its bytes, for all that are written when the graph runs and whose shape is known."""
    sizes = {}
    for tensor in (*graph.value_info, *graph.output):
        kind = tensor.type.tensor_type
        if all(dim.HasField("dim_value") for dim in kind.shape.dim):
            count = int(np.prod([dim.dim_value for dim in kind.shape.dim], dtype=np.int64))
            sizes[tensor.name] = count * helper.tensor_dtype_to_np_dtype(kind.elem_type).itemsize
    return sizes


def peak(graph: onnx.GraphProto) -> int:
    """The most bytes at any node: its outputs, its inputs, and whatever else a later node reads. Weights do not count."""
    sizes = bytes_of(graph)
    last = {name: place for place, node in enumerate(graph.node) for name in node.input}
    live: dict[str, int] = {}
    most = 0
    for place, node in enumerate(graph.node):
        if node.op_type != "Constant":
            live |= {name: sizes.get(name, 0) for name in node.output}
        most = max(most, sum(live.values()))
        live = {name: size for name, size in live.items() if last.get(name, -1) > place}
    return most


def softmax_bytes(graph: onnx.GraphProto) -> list[int]:
    """What each softmax writes."""
    sizes = bytes_of(graph)
    return [sizes[node.output[0]] for node in graph.node if node.op_type == "Softmax"]

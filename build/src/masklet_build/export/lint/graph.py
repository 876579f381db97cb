"""A graph with the type and the shape of every value, as far as ONNX can infer them without running it; and what a rule says of it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from onnx.shape_inference import InferenceError, infer_shapes

Shape = tuple[int | str | None, ...]

_SMALL = 1024  # elements of an initializer that may be a shape, axes or a scale; larger ones are weights, whose numbers no rule asks for


class LintError(Exception):
    """There is nothing to look at; the message says why and what to do."""


@dataclass(frozen=True)
class Finding:
    """Something in a graph that TensorRT, or masklet, would not take.

    rule       name of the rule
    where      the node, input or output
    what       what is found there
    why        why that is wrong
    next_step  what to do about it
    """

    rule: str
    where: str
    what: str
    why: str
    next_step: str

    def __str__(self) -> str:
        return f"[{self.rule}] {self.where}: {self.what}: {self.why}. {self.next_step}."


class Graph:
    """One model. `inference_error`: what ONNX says of a graph that is not well typed, else None."""

    def __init__(self, model: onnx.ModelProto) -> None:
        """The numbers of large initializers are dropped from `model`."""
        for tensor in model.graph.initializer:
            if np.prod(tensor.dims) > _SMALL:
                for name in ("raw_data", "float_data", "int32_data", "int64_data", "external_data", "data_location"):
                    tensor.ClearField(name)
        self.model, self.inference_error = _inferred(model)
        graph = self.model.graph
        self.nodes = list(graph.node)
        self.inputs, self.outputs = list(model.graph.input), list(model.graph.output)  # as declared: inference gives names to what has none
        self.opsets = {opset.domain or "ai.onnx": opset.version for opset in self.model.opset_import}
        self.makers = {name: node for node in self.nodes for name in node.output if name}
        self._initializers = {tensor.name: tensor for tensor in graph.initializer}
        values = (*graph.value_info, *graph.input, *graph.output)
        self._values = {value.name: value.type.tensor_type for value in values}
        self._users: dict[str, list[onnx.NodeProto]] = {}
        for node in self.nodes:
            for name in node.input:
                self._users.setdefault(name, []).append(node)

    @classmethod
    def read(cls, path: Path) -> Graph:
        """Reads an ONNX file, without the weights that lie in a second one. Raises LintError."""
        try:
            return cls(onnx.load(path, load_external_data=False))
        except FileNotFoundError as error:
            raise LintError(f"{path} is missing. Export again.") from error
        except Exception as error:  # of protobuf, whose classes differ from version to version
            raise LintError(f"{path} is no ONNX file: {error}. Export again.") from error

    def users(self, name: str) -> list[onnx.NodeProto]:
        """The nodes that read a value."""
        return self._users.get(name, [])

    def type(self, name: str) -> int | None:
        """onnx.TensorProto type of a value; None where it is not known."""
        if name in self._initializers:
            return int(self._initializers[name].data_type)
        node = self.makers.get(name)
        if node is not None and node.op_type == "Constant" and node.attribute[0].HasField("t"):
            return int(node.attribute[0].t.data_type)
        return int(self._values[name].elem_type) or None if name in self._values else None

    def shape(self, name: str) -> Shape | None:
        """Dimensions of a value: numbers, names, or None for one that is not known; None where not even the rank is."""
        if name in self._initializers:
            return tuple(self._initializers[name].dims)
        if name not in self._values or not self._values[name].HasField("shape"):
            return None
        return tuple(_dim(dim) for dim in self._values[name].shape.dim)

    def is_constant(self, name: str) -> bool:
        """Whether a value is an initializer or a constant, of any size."""
        return name in self._initializers or (name in self.makers and self.makers[name].op_type == "Constant")

    def before(self, name: str, through: frozenset[str]) -> onnx.NodeProto | None:
        """The node that makes a value, once operators that only hand it on (`through`) are passed by their first input."""
        node = self.makers.get(name)
        while node is not None and node.op_type in through:
            node = self.makers.get(node.input[0])
        return node

    def of_type(self, *operators: str) -> Iterator[onnx.NodeProto]:
        """The nodes of these operators."""
        return (node for node in self.nodes if node.op_type in operators)


def place(node: onnx.NodeProto) -> str:
    """How a finding names a node: by its name, or by what it makes."""
    return f"{node.op_type} {node.name or 'of ' + ', '.join(node.output)}"


def attribute(node: onnx.NodeProto, name: str, default: object = None) -> object:
    """Value of a node's attribute; text as str."""
    for item in node.attribute:
        if item.name == name:
            value = onnx.helper.get_attribute_value(item)
            return value.decode() if isinstance(value, bytes) else value
    return default


def type_name(elem_type: int | None) -> str:
    """Name of an onnx.TensorProto type."""
    return "unknown" if elem_type is None else str(onnx.TensorProto.DataType.Name(elem_type))


def _inferred(model: onnx.ModelProto) -> tuple[onnx.ModelProto, str | None]:
    try:
        return infer_shapes(model, check_type=True, strict_mode=True, data_prop=True), None
    except InferenceError as error:
        return model, str(error).strip().splitlines()[-1]


def _dim(dim: onnx.TensorShapeProto.Dimension) -> int | str | None:
    if dim.HasField("dim_value"):
        return int(dim.dim_value)
    return str(dim.dim_param) if dim.dim_param else None

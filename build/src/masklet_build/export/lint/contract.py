"""Names, types and dimensions of inputs and outputs: those of `masklet.contract`, with the batch in front and every free dimension named."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import onnx

from masklet.contract import Model
from masklet.families import Variant
from masklet_build.export.lint.findings import Finding
from masklet_build.export.lint.graph import Graph, type_name
from masklet_build.export.onnx_files import ONNX_TYPES, engine_dims

_AGAIN = "Export again with this masklet-build"
_BATCH = ("V", "B")  # videos, objects


def contract(graph: Graph, model: Model, variant: Variant) -> Iterator[Finding]:
    """Inputs and outputs are the contract's."""
    for kind, values, tensors in (("input", graph.inputs, model.inputs), ("output", graph.outputs, model.outputs)):
        found, wanted = [value.name for value in values], [tensor.name for tensor in tensors]
        if found != wanted:
            yield Finding("contract", f"{kind}s", f"{', '.join(found)}", f"{model.name} has {', '.join(wanted)}", _AGAIN)
            continue
        for value, tensor in zip(values, tensors, strict=True):
            shape, dims = _dims(value), engine_dims(tensor, model, variant)
            of_type = value.type.tensor_type.elem_type
            if of_type != ONNX_TYPES[tensor.dtype]:
                why = f"masklet.contract says {type_name(ONNX_TYPES[tensor.dtype])}"
                yield Finding("contract", f"{kind} {value.name}", f"type {type_name(of_type)}", why, _AGAIN)
            if shape != list(dims):
                yield Finding("contract", f"{kind} {value.name}", f"dimensions {shape}", f"masklet.contract says {list(dims)}", _AGAIN)


def dimensions(graph: Graph) -> Iterator[Finding]:
    """Every free dimension of inputs and outputs has a name, the batch comes first, and nothing is a scalar."""
    for kind, values in (("input", graph.inputs), ("output", graph.outputs)):
        for value in values:
            yield from _dimensions(f"{kind} {value.name}", _dims(value))


def _dimensions(where: str, shape: Sequence[int | str | None]) -> Iterator[Finding]:
    if not shape:
        yield Finding("dimensions", where, "a scalar", "TensorRT may take it for a shape tensor", "Give it a batch dimension")
    elif shape[0] not in _BATCH:
        yield Finding("dimensions", where, f"dimensions {list(shape)}", f"the first one is the batch, {' or '.join(_BATCH)}", "Put the batch first")
    if None in shape:
        yield Finding("dimensions", where, f"dimensions {list(shape)}", "a free dimension without a name has no range in a profile", "Name it")


def _dims(value: onnx.ValueInfoProto) -> list[int | str | None]:
    return [dim.dim_param or (dim.dim_value if dim.HasField("dim_value") else None) for dim in value.type.tensor_type.shape.dim]

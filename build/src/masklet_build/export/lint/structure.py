"""Rules on structure: what stops CUDA graphs and fusion, and types that a strongly typed network does not convert."""

from __future__ import annotations

from collections.abc import Iterator

import onnx
from onnx import defs

from masklet_build.export.lint.graph import Finding, Graph, place, type_name

_REWRITE = "Write the stage with other operators"

# Operators that a compiler may take, but that this project must not have.
FORBIDDEN = {
    **dict.fromkeys(("If", "Loop", "Scan"), "branches and loops stop CUDA graphs and the fusion of what is around them"),
    **dict.fromkeys(("NonZero", "NonMaxSuppression", "Compress", "Unique"), "the result's shape depends on data, so no CUDA graph can be captured"),
}

# Input positions of shapes, which must not come from an input of the graph.
_SHAPES = {
    **dict.fromkeys(("Reshape", "Expand", "Tile", "Pad", "TopK", "OneHot", "Split"), (1,)),
    "ConstantOfShape": (0,),
    "Range": (0, 1, 2),
    "Resize": (1, 2, 3),
    "Slice": (1, 2, 3, 4),
}


def operators(graph: Graph) -> Iterator[Finding]:
    """No branches, no loops, nothing whose shape depends on data."""
    for node in graph.of_type(*FORBIDDEN):
        yield Finding("operator", place(node), "a forbidden operator", FORBIDDEN[node.op_type], _REWRITE)


def agreement(graph: Graph) -> Iterator[Finding]:
    """Operators are ONNX's, and inputs that share a type in its definition do so here: a strongly typed network converts nothing by itself."""
    if graph.inference_error:
        yield Finding("agreement", "the model", graph.inference_error, "types or shapes contradict each other", "Cast before, or mend the stage")
    version = graph.opsets.get("ai.onnx", 0)
    for node in graph.nodes:
        if node.domain not in ("", "ai.onnx") or not defs.has(node.op_type, version, ""):
            why = f"it is not in opset {version} of ONNX"
            yield Finding("agreement", place(node), f"{node.domain or 'ai.onnx'} {node.op_type}", why, f"Export with a newer opset. {_REWRITE}")
            continue
        schema = defs.get_schema(node.op_type, version)
        allowed = {item.type_param_str: set(item.allowed_type_strs) for item in schema.type_constraints}
        yield from _disagreements(graph, node, schema, allowed)


def _disagreements(graph: Graph, node: onnx.NodeProto, schema: defs.OpSchema, allowed: dict[str, set[str]]) -> Iterator[Finding]:
    bound: dict[str, tuple[str, int]] = {}
    for names, formal in ((node.input, schema.inputs), (node.output, schema.outputs)):
        for index, name in enumerate(names):
            found = graph.type(name) if name else None
            if found is None or not formal:
                continue
            parameter = formal[min(index, len(formal) - 1)]
            if parameter.option == defs.OpSchema.FormalParameterOption.Variadic and not parameter.is_homogeneous:
                continue
            text = parameter.type_str
            if f"tensor({type_name(found).lower()})" not in allowed.get(text, {text}):
                why = f"{node.op_type} does not take that in opset {schema.since_version}"
                yield Finding("agreement", place(node), f"{name} is {type_name(found)}", why, "Cast before, or export with a newer opset")
            first, known = bound.setdefault(text, (name, found))
            if known != found:
                what = f"{first} is {type_name(known)}, {name} is {type_name(found)}"
                yield Finding("agreement", place(node), what, "a strongly typed network converts nothing by itself", "Cast one of them")


def shape_inputs(graph: Graph) -> Iterator[Finding]:
    """No input of the graph is used as a shape: Triton captures no CUDA graph of an engine that has one."""
    names = {value.name for value in graph.inputs}
    for node in graph.nodes:
        for position in _SHAPES.get(node.op_type, ()):
            if position < len(node.input) and node.input[position]:
                for name in sorted(_sources(graph, node.input[position]) & names):
                    why = "the input becomes a shape tensor, and Triton captures no CUDA graph of an engine with shape tensors"
                    yield Finding("shape", place(node), f"input {name} decides a shape", why, "Derive the shape from the shapes of inputs")


def _sources(graph: Graph, name: str) -> set[str]:
    """The values without a maker that a value's numbers depend on; what only depends on shapes depends on none."""
    found, waiting, seen = set(), [name], set()
    while waiting:
        name = waiting.pop()
        if name in seen or graph.is_constant(name):
            continue
        seen.add(name)
        node = graph.makers.get(name)
        if node is None:
            found.add(name)
        elif node.op_type not in ("Shape", "Size"):
            waiting += filter(None, node.input)
    return found


RULES = (operators, agreement, shape_inputs)

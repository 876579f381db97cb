"""Rules on operators, types and shapes: what the parser takes, and what Triton can capture as a CUDA graph."""

from __future__ import annotations

from collections.abc import Iterator

import onnx
from onnx import TensorProto, defs

from masklet_build.export.lint import operators
from masklet_build.export.lint.findings import Finding, place
from masklet_build.export.lint.graph import Graph, attribute, type_name

_REWRITE = "Write the stage with other operators"


def opset(graph: Graph) -> Iterator[Finding]:
    """Only ONNX's own operators, of an opset that the parser knows."""
    for domain, version in graph.opsets.items():
        if domain != "ai.onnx":
            yield Finding("opset", "the model", f"it uses operators of {domain}", "TensorRT has none of them", _REWRITE)
        elif not operators.OLDEST_OPSET <= version <= operators.NEWEST_OPSET:
            known = f"{operators.OLDEST_OPSET} to {operators.NEWEST_OPSET}"
            yield Finding(
                "opset", "the model", f"opset {version}", f"TensorRT from 10.13 on is counted on for opset {known}", "Export with such a one"
            )


def known_operators(graph: Graph) -> Iterator[Finding]:
    """Every operator is in the parser's table, and none of them is forbidden."""
    for node in graph.nodes:
        if node.op_type in operators.FORBIDDEN:
            yield Finding("operator", place(node), "a forbidden operator", operators.FORBIDDEN[node.op_type], _REWRITE)
        elif node.op_type not in operators.TYPES:
            yield Finding("operator", place(node), "an operator that TensorRT's parser lacks", f"it is not in {operators.SOURCE}", _REWRITE)


def types(graph: Graph) -> Iterator[Finding]:
    """Every value has a type that the parser takes for its operator."""
    for node in graph.nodes:
        allowed = operators.TYPES.get(node.op_type)
        if allowed is None:
            continue
        names = [*_typed_inputs(node), *(() if node.op_type in operators.COMPARISONS else node.output)]
        for name in filter(None, names):
            found = graph.type(name)
            if found is not None and found not in allowed:
                known = ", ".join(sorted(map(type_name, allowed)))
                yield Finding(
                    "type", place(node), f"{name} is {type_name(found)}", f"TensorRT takes {known} there", "Cast before, or rewrite the stage"
                )


def _typed_inputs(node: onnx.NodeProto) -> list[str]:
    """The inputs that the table's types are about: those of the operator's main type, not indices, axes, shapes or conditions."""
    if node.op_type == "Where":
        return list(node.input[1:])
    schema = defs.get_schema(node.op_type)
    main = schema.inputs[0].type_str if schema.inputs else ""
    formal = [schema.inputs[min(index, len(schema.inputs) - 1)] for index in range(len(node.input))]
    return [name for name, parameter in zip(node.input, formal, strict=True) if parameter.type_str == main]


def agreement(graph: Graph) -> Iterator[Finding]:
    """Inputs that share a type in ONNX's definition do so in the graph: TensorRT's strong typing converts nothing by itself."""
    if graph.inference_error:
        yield Finding("agreement", "the model", graph.inference_error, "types or shapes contradict each other", "Cast before, or mend the stage")
    version = graph.opsets.get("ai.onnx", 0)
    for node in graph.nodes:
        if not defs.has(node.op_type) or node.domain not in ("", "ai.onnx"):
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


def bytes_only_at_the_door(graph: Graph) -> Iterator[Finding]:
    """UINT8 is a type of inputs only, and a Cast follows at once."""
    for value in graph.inputs:
        if value.type.tensor_type.elem_type != TensorProto.UINT8:
            continue
        for node in graph.users(value.name):
            if node.op_type != "Cast":
                why = "TensorRT has UINT8 as a type of inputs and outputs only"
                yield Finding("type", place(node), f"it reads {value.name}, which is UINT8", why, "Cast the input first")


def resizes(graph: Graph) -> Iterator[Finding]:
    """A Resize in a mode that the parser takes, by constant scales that leave batch and channels alone."""
    for node in graph.of_type("Resize"):
        mode, antialias = attribute(node, "mode", "nearest"), attribute(node, "antialias", 0)
        coordinates = attribute(node, "coordinate_transformation_mode", "half_pixel")
        if mode not in operators.RESIZE_MODES or antialias or coordinates not in operators.RESIZE_COORDINATES:
            what = f"mode {mode}, antialias {antialias}, coordinates {coordinates}"
            yield Finding("resize", place(node), what, "TensorRT does nearest and linear without antialiasing", "Multiply by a matrix instead")
        scales = graph.constant(node.input[2]) if len(node.input) > 2 and node.input[2] else None
        if scales is None:
            why = "with a dynamic batch TensorRT takes that for a resize of four dimensions, which it lacks"
            yield Finding("resize", place(node), "sizes instead of constant scales", why, "Resize by scale_factor")
        elif len(scales) != 4 or (scales[:2] != 1).any():
            yield Finding("resize", place(node), f"scales {scales.tolist()}", "only the last two of four dimensions can be resized", "Reshape first")


def constant_axes(graph: Graph) -> Iterator[Finding]:
    """Axes are constants; a TopK has a small constant k; a scatter reduces nothing."""
    for node in graph.nodes:
        place_of_axes = operators.AXES.get(node.op_type)
        if place_of_axes is not None and len(node.input) > place_of_axes and node.input[place_of_axes]:
            if not graph.is_constant(node.input[place_of_axes]):
                yield Finding("constant", place(node), "its axes are computed", "TensorRT wants them constant", "Give the axes as Python numbers")
        elif node.op_type == "TopK":
            k = graph.constant(node.input[1])
            if k is None or k.max() >= operators.TOP_K_LIMIT:
                why = f"TensorRT wants a constant k below {operators.TOP_K_LIMIT}"
                yield Finding("constant", place(node), f"k is {'computed' if k is None else int(k.max())}", why, "Use ArgMax or ReduceMax")
        elif node.op_type in ("ScatterND", "ScatterElements") and attribute(node, "reduction", "none") != "none":
            yield Finding("constant", place(node), "a scatter that reduces", "TensorRT only overwrites", _REWRITE)


def shape_inputs(graph: Graph) -> Iterator[Finding]:
    """No input of the graph is used as a shape: Triton captures no CUDA graph of an engine that has one."""
    names = {value.name for value in graph.inputs}
    for node in graph.nodes:
        for position in operators.SHAPES.get(node.op_type, ()):
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


RULES = (opset, known_operators, types, agreement, bytes_only_at_the_door, resizes, constant_axes, shape_inputs)

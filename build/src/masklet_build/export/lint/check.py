"""All rules on the engines of an export, and whether their tensors are those of masklet.contract."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import onnx

from masklet.contract import Model, engines
from masklet.families import Variant
from masklet_build.export.lint import forms, refused, structure
from masklet_build.export.lint.graph import Finding, Graph, LintError, type_name
from masklet_build.export.onnx_files import ONNX_TYPES, engine_dims
from masklet_build.manifest import Manifest, ManifestError
from masklet_build.models import variants

_AGAIN = "Export again with this masklet-build"


def lint_folder(folder: Path) -> Iterator[tuple[str, list[Finding]]]:
    """Name of each engine in a folder that `export` wrote, and what is wrong with it. Raises LintError."""
    try:
        manifest = Manifest.found(folder)
        variant = variants.variant(manifest.variant)
    except (ManifestError, ValueError) as error:
        raise LintError(str(error)) from error
    if manifest.purpose == "torch":
        raise LintError(
            f"{folder} holds PyTorch programs, which have no graphs. For TensorRT: masklet-build export {variant.name} --for tensorrt ..."
        )
    for model in engines(variant):
        yield model.name, lint_file(folder / f"{model.name}.onnx", model, variant, manifest.purpose)


def lint_file(path: Path, model: Model, variant: Variant, purpose: str) -> list[Finding]:
    """What is wrong with the file of one engine. purpose: of its export, cpu or tensorrt. Raises LintError where there is no such file."""
    return list(lint(Graph.read(path), model, variant, purpose))


def lint(graph: Graph, model: Model, variant: Variant, purpose: str) -> Iterator[Finding]:
    """What is wrong with a graph. See `lint_file`. Of a graph that is not well typed, whose types and shapes are not known, no more is asked."""
    for rule in (*structure.RULES, *((*refused.RULES, *forms.RULES) if purpose == "tensorrt" and not graph.inference_error else ())):
        yield from rule(graph)
    yield from contract(graph, model, variant)


def contract(graph: Graph, model: Model, variant: Variant) -> Iterator[Finding]:
    """Inputs and outputs are the contract's: names, types and dimensions, with the batch in front and every free dimension named."""
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


def _dims(value: onnx.ValueInfoProto) -> list[int | str | None]:
    return [dim.dim_param or (dim.dim_value if dim.HasField("dim_value") else None) for dim in value.type.tensor_type.shape.dim]

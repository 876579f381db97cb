"""All rules on the engines of an export."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from masklet.contract import Model, engines
from masklet.families import Variant
from masklet_build.export.lint import forms, structure
from masklet_build.export.lint.contract import contract, dimensions
from masklet_build.export.lint.findings import Finding
from masklet_build.export.lint.graph import Graph, LintError
from masklet_build.manifest import FILE_NAME, Manifest
from masklet_build.models import variants


def lint_folder(folder: Path) -> Iterator[tuple[str, list[Finding]]]:
    """Name of each engine in a folder that `export` wrote, and what is wrong with it. Raises LintError."""
    manifest, variant = _read(folder)
    for model in engines(variant):
        yield model.name, lint_file(folder / f"{model.name}.onnx", model, variant, manifest.purpose)


def _read(folder: Path) -> tuple[Manifest, Variant]:
    try:
        manifest = Manifest.read(folder)
        return manifest, variants.variant(manifest.variant)
    except FileNotFoundError as error:
        raise LintError(f"{folder} has no {FILE_NAME}, so it holds no engines. Make them with: masklet-build export") from error
    except (TypeError, ValueError) as error:
        raise LintError(f"{folder / FILE_NAME} cannot be read: {error}. Export again.") from error


def lint_file(path: Path, model: Model, variant: Variant, purpose: str) -> list[Finding]:
    """What is wrong with the file of one engine. purpose: of its export, cpu or tensorrt. Raises LintError where there is no such file."""
    return list(lint(Graph.read(path), model, variant, purpose))


def lint(graph: Graph, model: Model, variant: Variant, purpose: str) -> Iterator[Finding]:
    """What is wrong with a graph. See `lint_file`."""
    for rule in (*structure.RULES, dimensions, *(forms.RULES if purpose == "tensorrt" else ())):
        yield from rule(graph)
    yield from contract(graph, model, variant)

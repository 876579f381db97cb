"""nano's mask prompt with something planted in it, and what TensorRT for RTX and lint say of it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import onnx
from onnx import parser

from masklet import families
from masklet.contract import mask_prompt
from masklet_build import nano
from masklet_build.engines.builder import Built, build
from masklet_build.engines.compilers import compiler_of
from masklet_build.engines.plans import RTX, Settings
from masklet_build.export.lint.check import lint
from masklet_build.export.lint.graph import Finding, Graph
from masklet_build.export.profiles import Limits, Profile, profiles

NANO = families.NANO
MODEL = mask_prompt(NANO)
TABLE = profiles(NANO, Limits.of(NANO), wide=True)["mask_prompt"]


def planted(body: str, numbers: str = "", opset: int = 22) -> onnx.ModelProto:
    """The engine with nodes in front of its output LOW: `body` makes y of x, both float32 [B, 64, 64], in ONNX's text form; `numbers`: initializers.

    Each of the nodes is named by what it makes, such as "planted/y".
    """
    made = onnx.load(nano.ENGINES / "mask_prompt.onnx")
    text = f'<ir_version: 10, opset_import: ["" : {opset}, "our.own" : 1]>\nplant (float[B,64,64] x) => (float[B,64,64] y) <{numbers}> {{ {body} }}'
    plant = parser.parse_model(text)
    for node in plant.graph.node:
        node.name = f"planted/{node.output[0]}"
        for names in (node.input, node.output):
            names[:] = [{"y": "LOW"}.get(name, name) for name in names]
    next(node for node in made.graph.node if "LOW" in node.output).output[0] = "x"
    made.graph.node.extend(plant.graph.node)
    made.graph.initializer.extend(plant.graph.initializer)
    made.ir_version = plant.ir_version
    del made.opset_import[:]
    made.opset_import.extend(plant.opset_import)
    return made


def compiled(graph: onnx.ModelProto, folder: Path, table: Sequence[Profile] = TABLE) -> Built:
    """What the project's own builder makes of it with TensorRT for RTX. Raises BuildError."""
    onnx.save(graph, folder / "mask_prompt.onnx")
    return build(compiler_of(RTX), MODEL, NANO, folder / "mask_prompt.onnx", table, Settings(), b"", folder / "mask_prompt.log")


def linted(graph: onnx.ModelProto) -> list[Finding]:
    """What lint says of it, were it made for TensorRT."""
    copied = onnx.ModelProto()
    copied.CopyFrom(graph)
    return list(lint(Graph(copied), MODEL, NANO, "tensorrt"))

"""Engines that show what went in: made with onnx, run by any runtime."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

onnx = pytest.importorskip("onnx", reason="engines of these tests are made with onnx")
TensorProto, helper = onnx.TensorProto, onnx.helper


def graph(file: Path, nodes: list[Any], inputs: list[Any], outputs: list[Any], constants: dict[str, float]) -> None:
    initializers = [helper.make_tensor(name, TensorProto.FLOAT, [], [value]) for name, value in constants.items()]
    made = helper.make_graph(nodes, "engine", inputs, outputs, initializers)
    onnx.save(helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), file)


def encoder_engine(file: Path) -> None:
    """IMAGE u8 [n, 4, 4, 3] -> EMBEDDING: the image doubled, HIGH_RES: the image halved."""
    graph(
        file,
        [
            helper.make_node("Cast", ["IMAGE"], ["image"], to=TensorProto.FLOAT),
            helper.make_node("Mul", ["image", "two"], ["EMBEDDING"]),
            helper.make_node("Div", ["image", "two"], ["HIGH_RES"]),
        ],
        [helper.make_tensor_value_info("IMAGE", TensorProto.UINT8, ["n", 4, 4, 3])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 4, 4, 3]) for name in ("EMBEDDING", "HIGH_RES")],
        {"two": 2.0},
    )


def attention_engine(file: Path, added: float) -> None:
    """MEMORY [B, F, 2, 3] -> CONDITIONED: the memory and a constant that says which graph ran."""
    graph(
        file,
        [helper.make_node("Add", ["MEMORY", "added"], ["CONDITIONED"])],
        [helper.make_tensor_value_info("MEMORY", TensorProto.FLOAT, ["B", "F", 2, 3])],
        [helper.make_tensor_value_info("CONDITIONED", TensorProto.FLOAT, ["B", "F", 2, 3])],
        {"added": added},
    )


def gathering_engine(file: Path) -> None:
    """EMBEDDING [V, 1], VIDEO [B], X [B, 1] -> OUT [B, 1]: each object's X plus the embedding of its video."""
    graph(
        file,
        [helper.make_node("Gather", ["EMBEDDING", "VIDEO"], ["own"], axis=0), helper.make_node("Add", ["own", "X"], ["OUT"])],
        [
            helper.make_tensor_value_info("EMBEDDING", TensorProto.FLOAT, ["V", 1]),
            helper.make_tensor_value_info("VIDEO", TensorProto.INT32, ["B"]),
            helper.make_tensor_value_info("X", TensorProto.FLOAT, ["B", 1]),
        ],
        [helper.make_tensor_value_info("OUT", TensorProto.FLOAT, ["B", 1])],
        {},
    )

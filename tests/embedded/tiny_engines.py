"""Engines that show what went in: ONNX graphs, and PyTorch programs of the same meaning."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

onnx = pytest.importorskip("onnx", reason="engines of these tests are made with onnx")
TensorProto, helper = onnx.TensorProto, onnx.helper


def graph(file: Path, nodes: list[Any], inputs: list[Any], outputs: list[Any], constants: dict[str, float]) -> None:
    initializers = [helper.make_tensor(name, TensorProto.FLOAT, [], [value]) for name, value in constants.items()]
    made = helper.make_graph(nodes, "engine", inputs, outputs, initializers)
    onnx.save(helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), file)


def program(file: Path, run: Callable[..., Any], inputs: dict[str, Any], outputs: list[str], free: int) -> None:
    """A PyTorch program of `run`. inputs: examples by name; free: how many leading dimensions of each may differ, of 2 at least."""
    import torch

    from masklet_build.embedded.torch_runner import TENSORS

    class Stage(torch.nn.Module):
        def forward(self, *tensors: Any) -> Any:
            return run(*tensors)

    dims = [dict.fromkeys(range(free), torch.export.Dim.AUTO) for _ in inputs]
    made = torch.export.export(Stage(), tuple(inputs.values()), dynamic_shapes=(tuple(dims),))
    torch.export.save(made, file, extra_files={TENSORS: json.dumps({"inputs": list(inputs), "outputs": outputs})})


def encoder_engine(file: Path, runtime: str = "onnxruntime") -> None:
    """IMAGE u8 [n, 4, 4, 3] -> EMBEDDING: the image doubled, HIGH_RES: the image halved. file: without suffix."""
    if runtime == "torch":
        import torch

        image = torch.zeros(2, 4, 4, 3, dtype=torch.uint8)
        program(file.with_suffix(".pt2"), lambda x: (x.float() * 2.0, x.float() / 2.0), {"IMAGE": image}, ["EMBEDDING", "HIGH_RES"], 1)
        return
    graph(
        file.with_suffix(".onnx"),
        [
            helper.make_node("Cast", ["IMAGE"], ["image"], to=TensorProto.FLOAT),
            helper.make_node("Mul", ["image", "two"], ["EMBEDDING"]),
            helper.make_node("Div", ["image", "two"], ["HIGH_RES"]),
        ],
        [helper.make_tensor_value_info("IMAGE", TensorProto.UINT8, ["n", 4, 4, 3])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 4, 4, 3]) for name in ("EMBEDDING", "HIGH_RES")],
        {"two": 2.0},
    )


def attention_engine(file: Path, added: float, runtime: str = "onnxruntime") -> None:
    """MEMORY [B, F, 2, 3] -> CONDITIONED: the memory and a constant that says which graph ran. file: without suffix."""
    if runtime == "torch":
        import torch

        program(file.with_suffix(".pt2"), lambda x: (x + added,), {"MEMORY": torch.zeros(2, 3, 2, 3)}, ["CONDITIONED"], 2)
        return
    graph(
        file.with_suffix(".onnx"),
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


def squaring_engine(file: Path) -> None:
    """X [n, n] -> OUT [n, n]: the matrix times itself, for which every n has a kernel of its own."""
    x, out = (helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", "n"]) for name in ("X", "OUT"))
    graph(file, [helper.make_node("MatMul", ["X", "X"], ["OUT"])], [x], [out], {})

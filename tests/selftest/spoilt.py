"""Engines that run and are wrong."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx


def spoil(file: Path) -> None:
    """Adds noise to the largest weight of a graph: it still runs."""
    graph = onnx.load(file)
    weight = max((tensor for tensor in graph.graph.initializer if len(tensor.dims) == 2), key=lambda tensor: np.prod(tensor.dims))
    values = onnx.numpy_helper.to_array(weight)
    noise = np.random.default_rng(0).standard_normal(values.shape) * values.astype(np.float32).std()
    weight.CopyFrom(onnx.numpy_helper.from_array((values + noise).astype(values.dtype), weight.name))
    onnx.save(graph, file)

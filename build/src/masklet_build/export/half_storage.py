"""Smaller ONNX files without a loss: weights that float16 holds exactly are stored so, and cast to float32 where they are used."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper

from masklet_build.export.onnx_files import save

_MIN_ELEMENTS = 1024  # smaller tensors do not repay their Cast node


def store_as_half(path: Path) -> None:
    """Stores the float32 initializers of an ONNX file that float16 holds exactly as float16, each with a Cast to float32 under its old name.

    Runtimes fold the casts when they load the file, so the engine computes what it computed before. Weights of a checkpoint that was saved in
    float16 qualify; products of two of them and tables of sines do not, and stay.
    """
    model = onnx.load(path)
    casts = []
    for tensor in model.graph.initializer:
        if tensor.data_type != onnx.TensorProto.FLOAT or math.prod(tensor.dims) < _MIN_ELEMENTS:
            continue
        values = numpy_helper.to_array(tensor)
        with np.errstate(over="ignore"):  # too large becomes infinite, which is not equal
            half = values.astype(np.float16)
        if not np.array_equal(half.astype(np.float32), values):
            continue
        name = tensor.name
        tensor.CopyFrom(numpy_helper.from_array(half, f"{name}.half"))
        casts.append(onnx.helper.make_node("Cast", [tensor.name], [name], to=onnx.TensorProto.FLOAT))
    nodes = [*casts, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    save(model, path)

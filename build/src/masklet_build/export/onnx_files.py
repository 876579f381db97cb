"""ONNX files as masklet writes them: in one file, or, for large networks, with the weights in a second one beside it."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper

from masklet.contract import Model, Tensor, resolve
from masklet.families import Variant
from masklet_build.manifest import WEIGHTS

ONNX_TYPES = {"UINT8": onnx.TensorProto.UINT8, "INT32": onnx.TensorProto.INT32, "FP32": onnx.TensorProto.FLOAT}  # types of masklet.contract

# A file with everything in it may have 2 GiB, and readers hold it several times; a second file they map into memory.
EXTERNAL_OVER = 1 << 30
_STAYS_INSIDE = 1024  # bytes of a tensor
_MIN_ELEMENTS = 1024  # smaller tensors do not repay their Cast node


def engine_dims(tensor: Tensor, model: Model, variant: Variant) -> tuple[int | str, ...]:
    """Dimensions of an engine's tensor in its ONNX file: the contract's, with V in front where Triton batches."""
    lead: tuple[str, ...] = ("V",) if model.batched else ()
    return (*lead, *resolve(tensor.dims, variant))


def save(model: onnx.ModelProto, path: Path) -> None:
    """Writes a model and checks it. Weights of more than EXTERNAL_OVER bytes in all go to a second file; one that was there before is replaced."""
    weights = path.with_name(path.name + WEIGHTS)
    weights.unlink(missing_ok=True)
    if sum(len(tensor.raw_data) for tensor in model.graph.initializer) > EXTERNAL_OVER:
        onnx.save(model, path, save_as_external_data=True, location=weights.name, size_threshold=_STAYS_INSIDE)
    else:
        onnx.save(model, path)
    onnx.checker.check_model(path, full_check=True)


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

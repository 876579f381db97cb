"""ONNX files as masklet writes them: in one file, or, for large networks, with the weights in a second one beside it."""

from __future__ import annotations

from pathlib import Path

import onnx

from masklet.contract import Model, Tensor, resolve
from masklet.families import Variant
from masklet_build.manifest import WEIGHTS

ONNX_TYPES = {"UINT8": onnx.TensorProto.UINT8, "INT32": onnx.TensorProto.INT32, "FP32": onnx.TensorProto.FLOAT}  # types of masklet.contract

# A file with everything in it may have 2 GiB, and readers hold it several times; a second file they map into memory.
EXTERNAL_OVER = 1 << 30
_STAYS_INSIDE = 1024  # bytes of a tensor


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

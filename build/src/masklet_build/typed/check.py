"""How far an engine in reduced precision is from the float32 network.

This tells a broken engine from one that rounds; whether masks are still good is judged over whole clips (`masklet-build evaluate --typed`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, numpy_helper
from torch import nn

from masklet.contract import Model
from masklet.families import Variant
from masklet_build.onnx_files import save
from masklet_build.samples import Sizes, fitting_sizes, sample_inputs
from masklet_build.torch_stages import TorchStages
from masklet_build.typed.choice import Choice

Tensors = Mapping[str, np.ndarray]

# Root mean square of a row's error, in deviations of the row. A number is rounded some ten times in each of up to forty layers, by 2^-11 of itself in
# fp16 and 2^-8 in bf16; independent errors grow as the root of their number, so 20 roundings are expected: 1e-2 and 8e-2. Three times that is
# refused. What a fault gives, a scale or a row that is wrong, an overflow, is of the order of 1.
BARS = {"fp32": 1e-4, "fp16": 3e-2, "bf16": 0.25}


class TypedError(Exception):
    """An engine in reduced precision is not what its float32 network is."""


def bar(choice: Choice) -> float:
    """The bar of the coarser of the two types."""
    return max(BARS[choice.precision], BARS[choice.attention])


def check_typed(
    path: Path, model: Model, stage: nn.Module, choice: Choice, reference: TorchStages, variant: Variant, sizes: Sequence[Sizes]
) -> dict[str, float]:
    """Runs an engine beside the float32 network. Returns its `differences`; raises TypedError.

    `path` runs in ONNX Runtime. With bf16 in it, the module that it was traced from runs in PyTorch instead, and `path` with float32 in place of
    bfloat16 must be within the bar as well.
    """
    calls = [sample_inputs(model.name, variant, size, seed=1) for size in fitting_sizes(sizes, model, variant)]
    limit = bar(choice)
    if "bf16" not in (choice.precision, choice.attention):
        return differences(model.name, session(path), reference, calls, limit)
    with TemporaryDirectory(dir=path.parent) as scratch:
        save(widened(onnx.load(path)), Path(scratch) / path.name)
        differences(model.name, session(Path(scratch) / path.name), reference, calls, limit)
    in_torch = reference.replaced({model.name: stage})
    return differences(model.name, lambda inputs: in_torch.call(model.name, inputs), reference, calls, limit)


def differences(engine: str, run: Callable[[Tensors], Tensors], reference: TorchStages, calls: Iterable[Tensors], limit: float) -> dict[str, float]:
    """Output -> root mean square of the error of the median row, in deviations of the row; rows are those of all calls.

    The median, since a choice between masks that are nearly equal may fall the other way in a row, which then is another mask altogether. Raises
    TypedError for values that are not finite, wrong shapes and types, and a median above `limit`.
    """
    rows: dict[str, list[np.ndarray]] = {}
    for inputs in calls:
        got = run(inputs)
        for name, wanted in reference.call(engine, inputs).items():
            rows.setdefault(name, []).append(_errors(engine, name, got[name], wanted))
    medians = {name: float(np.median(np.concatenate(errors))) for name, errors in rows.items()}
    for name, value in medians.items():
        if not value <= limit:
            raise TypedError(
                f"{engine}: output {name} is off by {value:.3g} of its deviation in the median row; rounding explains {limit:.3g}. "
                "Nothing was written. Export in fp32, or bf16, and report this."
            )
    return medians


def _errors(engine: str, name: str, got: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Of each row of one output."""
    if got.shape != wanted.shape or got.dtype != wanted.dtype or not np.isfinite(got).all():
        count = "" if got.shape != wanted.shape else f", {np.count_nonzero(~np.isfinite(got))} of its values not finite"
        raise TypedError(
            f"{engine}: output {name} is {got.dtype} {list(got.shape)}{count}; wanted {wanted.dtype} {list(wanted.shape)}, all finite. "
            "Nothing was written. Export in bf16, which has the range of fp32, or in fp32."
        )
    rows, expected = (x.reshape(len(x), -1).astype(np.float64) for x in (got, wanted))
    scale = expected.std(axis=1) if rows.shape[1] > 1 else np.maximum(np.abs(expected[:, 0]), 1)
    errors: np.ndarray = np.sqrt(np.square(rows - expected).mean(axis=1)) / np.maximum(scale, 1e-6)
    return errors


def session(path: Path) -> Callable[[Tensors], dict[str, np.ndarray]]:
    """A graph in ONNX Runtime on the CPU."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    opened = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    names = [output.name for output in opened.get_outputs()]
    return lambda inputs: dict(zip(names, opened.run(None, dict(inputs)), strict=True))


def widened(model: onnx.ModelProto) -> onnx.ModelProto:
    """The same graph with float32 in place of bfloat16: ONNX Runtime has no bfloat16 products on a CPU, so this shows that all else is right."""
    made = onnx.ModelProto()
    made.CopyFrom(model)
    for tensor in made.graph.initializer:
        if tensor.data_type == TensorProto.BFLOAT16:
            tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float32), tensor.name))
    for node in made.graph.node:
        for attribute in node.attribute:
            if node.op_type == "Cast" and attribute.name == "to" and attribute.i == TensorProto.BFLOAT16:
                attribute.i = TensorProto.FLOAT
            elif attribute.type == onnx.AttributeProto.TENSOR and attribute.t.data_type == TensorProto.BFLOAT16:
                attribute.t.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(attribute.t).astype(np.float32), attribute.t.name))
    del made.graph.value_info[:]
    return made

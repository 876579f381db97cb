"""How far an engine in reduced precision is from the float32 network.

This tells a broken engine from one that rounds; whether masks are still good is judged over whole clips (`masklet-build evaluate --typed`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, numpy_helper

from masklet.contract import Model
from masklet.families import Variant
from masklet_build.export.bars import ROUNDED, deviation, row_errors
from masklet_build.export.lint.graph import Graph
from masklet_build.export.onnx_files import save
from masklet_build.export.precision.choice import Choice
from masklet_build.models.samples import Sizes, fitting_sizes, sample_inputs
from masklet_build.models.stages import TorchStages

Tensors = Mapping[str, np.ndarray]

REDUCED = (TensorProto.FLOAT16, TensorProto.BFLOAT16)


class TypedError(Exception):
    """An engine in reduced precision is not what its float32 network is."""


def bar(choice: Choice) -> float:
    """The bar of the coarser of the two types."""
    return max(ROUNDED[choice.precision], ROUNDED[choice.attention])


def check_typed(path: Path, model: Model, choice: Choice, reference: TorchStages, variant: Variant, sizes: Sequence[Sizes]) -> dict[str, float]:
    """Runs an engine's graph, rounding as it says, beside the float32 network. Returns its `differences`; raises TypedError."""
    calls = [sample_inputs(model.name, variant, size, seed=1) for size in fitting_sizes(sizes, model, variant)]
    with rounding_session(path) as run:
        return differences(model.name, run, reference, calls, bar(choice))


def differences(engine: str, run: Callable[[Tensors], Tensors], reference: TorchStages, calls: Iterable[Tensors], limit: float) -> dict[str, float]:
    """Output -> root mean square of a row's error, in deviations of the row; rows are those of all calls, of which a middling one counts.

    It is the median row. Of the mask decoder, which chooses between masks, it is the one at a quarter: where two masks are nearly equal, rounding
    decides, and then the row is that of another mask. A fault is in all rows. Raises TypedError for values that are not finite, wrong shapes and
    types, and a middling row above `limit`.
    """
    rows: dict[str, list[np.ndarray]] = {}
    for inputs in calls:
        got = run(inputs)
        for name, wanted in reference.call(engine, inputs).items():
            rows.setdefault(name, []).append(_errors(engine, name, got[name], wanted))
    share = 0.25 if engine == "mask_decoder" else 0.5
    middling = {name: float(np.quantile(np.concatenate(errors), share)) for name, errors in rows.items()}
    for name, value in middling.items():
        if not value <= limit:
            raise TypedError(
                f"{engine}: output {name} is off by {value:.3g} of its deviation in a middling row; rounding explains {limit:.3g}. "
                "Nothing was written. Export in fp32, or bf16, and report this."
            )
    return middling


def _errors(engine: str, name: str, got: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Of each row of one output."""
    if got.shape != wanted.shape or got.dtype != wanted.dtype or not np.isfinite(got).all():
        count = "" if got.shape != wanted.shape else f", {np.count_nonzero(~np.isfinite(got))} of its values not finite"
        raise TypedError(
            f"{engine}: output {name} is {got.dtype} {list(got.shape)}{count}; wanted {wanted.dtype} {list(wanted.shape)}, all finite. "
            "Nothing was written. Export in bf16, which has the range of fp32, or in fp32."
        )
    return row_errors(got, wanted, deviation)[0]


@contextmanager
def rounding_session(path: Path) -> Iterator[Callable[[Tensors], dict[str, np.ndarray]]]:
    """An engine in ONNX Runtime on the CPU, with every number of a reduced type rounded to it.

    As it is, ONNX Runtime would round nothing: it computes fp16 products in float32 and drops the casts between them, and bf16 products it lacks.
    """
    with TemporaryDirectory(dir=path.parent) as scratch:
        save(_rounding(path), Path(scratch) / path.name)
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL  # which would see through the rounding
        session = onnxruntime.InferenceSession(f"{scratch}/{path.name}", options, providers=["CPUExecutionProvider"])
        names = [output.name for output in session.get_outputs()]
        yield lambda inputs: dict(zip(names, session.run(None, dict(inputs)), strict=True))


def _rounding(path: Path) -> onnx.ModelProto:
    """The graph in float32; what a node makes of a reduced type is rounded to it, behind an Identity, which keeps the casts apart."""
    types, made = Graph.read(path), onnx.load(path)
    for tensor in made.graph.initializer:
        _widen(tensor)
    nodes = []
    for node in made.graph.node:
        for attribute in node.attribute:
            if node.op_type == "Cast" and attribute.name == "to" and attribute.i in REDUCED:
                attribute.i = TensorProto.FLOAT
            elif attribute.type == onnx.AttributeProto.TENSOR:
                _widen(attribute.t)
        nodes.append(node)
        for index, name in enumerate(node.output):
            if (of_type := types.type(name)) in REDUCED:
                node.output[index] = f"{name}.exact"
                nodes += [
                    onnx.helper.make_node("Cast", [f"{name}.exact"], [f"{name}.rounded"], to=of_type),
                    onnx.helper.make_node("Identity", [f"{name}.rounded"], [f"{name}.kept"]),
                    onnx.helper.make_node("Cast", [f"{name}.kept"], [name], to=TensorProto.FLOAT),
                ]
    del made.graph.node[:], made.graph.value_info[:]
    made.graph.node.extend(nodes)
    return made


class RoundingStages:
    """Exported engines in ONNX Runtime on the CPU, with every number of a reduced type rounded to it."""

    def __init__(self, files: Mapping[str, Path]) -> None:
        """`files` by engine."""
        self._runs = {}
        for engine, file in files.items():
            with rounding_session(file) as run:  # what it opened stays open; the file that it was opened from goes
                self._runs[engine] = run

    def call(self, engine: str, inputs: Tensors) -> dict[str, np.ndarray]:
        """See `in_process.Stages`."""
        return self._runs[engine](inputs)


def _widen(tensor: TensorProto) -> None:
    """Numbers of a reduced type as float32, which holds them exactly."""
    if tensor.data_type in REDUCED:
        tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float32), tensor.name))

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
from masklet_build.export.precision.ties import other_answers
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
    """Output -> root mean square of a row's error, in deviations of the row, in the worst row of all calls.

    The mask decoder chooses between masks: where rounding may decide, a row may be that of another choice, with all its outputs. Raises TypedError
    for values that are not finite, wrong shapes and types, and a row above `limit`.
    """
    worst: dict[str, float] = {}
    for inputs in calls:
        got, wanted = run(inputs), reference.call(engine, inputs)
        for name in wanted:
            _check_form(engine, name, got[name], wanted[name])
        found = {name: row_errors(got[name], wanted[name], deviation)[0] for name in wanted}
        if engine == "mask_decoder" and any((errors > limit).any() for errors in found.values()):
            for other in other_answers(reference, inputs, limit):
                found = _nearer(found, {name: row_errors(got[name], other[name], deviation)[0] for name in other})
        for name, errors in found.items():
            worst[name] = max(worst.get(name, 0.0), float(errors.max()))
            if not worst[name] <= limit:
                raise TypedError(
                    f"{engine}: output {name} is off by {worst[name]:.3g} of its deviation in row {errors.argmax()}; rounding explains {limit:.3g}. "
                    "Nothing was written. Export in another precision, the surest is fp32, and report this."
                )
    return worst


def _nearer(found: Mapping[str, np.ndarray], other: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Errors of each row, of all outputs together: those beside the answer that the row is nearer to."""
    nearer = np.max(list(other.values()), axis=0) < np.max(list(found.values()), axis=0)  # never where a value is not a number
    return {name: np.where(nearer, other[name], errors) for name, errors in found.items()}


def _check_form(engine: str, name: str, got: np.ndarray, wanted: np.ndarray) -> None:
    if got.shape != wanted.shape or got.dtype != wanted.dtype or not np.isfinite(got).all():
        count = "" if got.shape != wanted.shape else f", {np.count_nonzero(~np.isfinite(got))} of its values not finite"
        raise TypedError(
            f"{engine}: output {name} is {got.dtype} {list(got.shape)}{count}; wanted {wanted.dtype} {list(wanted.shape)}, all finite. "
            "Nothing was written. Export in bf16, which has the range of fp32, or in fp32."
        )


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

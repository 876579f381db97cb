"""Engines of TensorRT for RTX, loaded and made ready for the GPU. Importing this imports NVIDIA's package.

An engine is compiled in two steps: on any machine to what is alike on all its targets, and here to kernels. Some are compiled when its execution
context is made, for all sizes; others for sizes that come, while calls go on with the former (`Specialised.LATER`).
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tensorrt_rtx_bindings as trt

from masklet_build.embedded.logs import LOG
from masklet_build.embedded.shapes import Inputs, Shapes

_Why = trt.EngineInvalidityDiagnostics
_REASONS = {  # flag -> what is wrong, what to do
    _Why.VERSION_MISMATCH: ("it was built by another version of TensorRT for RTX", "install that of plans.json, or build again"),
    _Why.UNSUPPORTED_CC: ("it was not built for this GPU's compute capability", "build again: masklet-build engine VARIANT --rtx --sm ..."),
    _Why.OLD_CUDA_DRIVER: ("the driver is too old", "install a newer one, R580 at least"),
    _Why.OLD_CUDA_RUNTIME: ("the CUDA runtime is too old", "install the packages of TensorRT for RTX again"),
    _Why.INSUFFICIENT_GPU_MEMORY: ("the GPU has too little memory", "build for smaller calls: masklet-build engine VARIANT --rtx --objects 1"),
    _Why.MALFORMED_ENGINE: ("the file is damaged, or no engine", "build and assemble again"),
    _Why.CUDA_ERROR: ("CUDA does not work", "look at nvidia-smi"),
}


class RtxError(Exception):
    """TensorRT for RTX did not load or run an engine."""


class Specialised(Enum):
    """When kernels are compiled for the sizes of a call, beside those that take all sizes.

    LATER   while calls go on with the others: no frame waits for the compiler. For servers
    FIRST   before the call runs
    NEVER   not at all
    """

    LATER = trt.DynamicShapesKernelSpecializationStrategy.LAZY
    FIRST = trt.DynamicShapesKernelSpecializationStrategy.EAGER
    NEVER = trt.DynamicShapesKernelSpecializationStrategy.NONE


class _Log(trt.ILogger):
    """Warnings and errors go to the log; the last error is kept for who reports the failure. Called from any thread, by code without exceptions."""

    def __init__(self) -> None:
        trt.ILogger.__init__(self)  # not super(): pybind11 asks for it by name
        self._error = ""

    def why(self) -> str:
        """The last error. It is told once: a failure without a word has not the reason of the one before."""
        error, self._error = self._error, ""
        return error or "it does not say why"

    def log(self, severity: trt.ILogger.Severity, msg: str) -> None:
        if severity in (trt.ILogger.Severity.ERROR, trt.ILogger.Severity.INTERNAL_ERROR):
            self._error = msg
            LOG.error("TensorRT for RTX: %s", msg)
        elif severity == trt.ILogger.Severity.WARNING:
            LOG.warning("TensorRT for RTX: %s", msg)


_log = _Log()


@cache
def _runtime() -> trt.Runtime:
    """That of this process: every further one would complain about its logger."""
    return trt.Runtime(_log)


class Tensors(NamedTuple):
    """An engine's inputs and outputs with their types, and the input shapes of each of its profiles."""

    inputs: Mapping[str, np.dtype[Any]]
    outputs: Mapping[str, np.dtype[Any]]
    table: tuple[Inputs, ...]


def load(file: Path) -> trt.ICudaEngine:
    """The engine in a file. Raises RtxError with the reason where it cannot run on the current GPU."""
    plan = file.read_bytes()
    runtime = _runtime()
    validity, flags = runtime.get_engine_validity(plan[: runtime.engine_header_size])
    reasons = [f"{what}: {then}" for flag, (what, then) in _REASONS.items() if int(flags) & flag.value]
    if validity == trt.EngineValidity.INVALID:
        raise RtxError(f"{file} cannot run here. {'; '.join(reasons) or _log.why().rstrip('.')}.")
    if validity == trt.EngineValidity.SUBOPTIMAL:
        LOG.warning("%s may run slower here than it could. %s.", file, "; ".join(reasons) or "TensorRT for RTX does not say why")
    engine = runtime.deserialize_cuda_engine(plan)
    if engine is None:
        raise RtxError(f"{file} is not loaded: {_log.why()}")
    return engine


def tensors(engine: trt.ICudaEngine) -> Tensors:
    """What an engine takes and gives."""
    types = {name: np.dtype(trt.nptype(engine.get_tensor_dtype(name))) for name in map(engine.get_tensor_name, range(engine.num_io_tensors))}
    inputs = {name: kind for name, kind in types.items() if engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT}
    table = tuple(
        {name: Shapes(*(tuple(shape) for shape in engine.get_tensor_profile_shape(name, index))) for name in inputs}
        for index in range(engine.num_optimization_profiles)
    )
    return Tensors(inputs, {name: kind for name, kind in types.items() if name not in inputs}, table)


class Context(NamedTuple):
    """An engine ready to run, and the kernels that were compiled for it so far."""

    context: trt.IExecutionContext
    kernels: trt.IRuntimeCache


def ready(engine: trt.ICudaEngine, name: str, specialised: Specialised, kernels: bytes = b"") -> Context:
    """Compiles an engine's kernels, those in `kernels` excepted. A CUDA context must be current. Raises RtxError."""
    config = engine.create_runtime_config()
    cache_of_kernels = config.create_runtime_cache()
    if kernels and not cache_of_kernels.deserialize(kernels):
        LOG.info("%s: the kernels that were kept are not for this machine and are compiled again", name)
    if not config.set_runtime_cache(cache_of_kernels):
        raise RtxError(f"{name}: TensorRT for RTX does not take a cache of kernels: {_log.why()}")
    config.dynamic_shapes_kernel_specialization_strategy = specialised.value
    config.cuda_graph_strategy = trt.CudaGraphStrategy.WHOLE_GRAPH_CAPTURE  # a call is one launch once its shapes came before
    config.set_execution_context_allocation_strategy(trt.ExecutionContextAllocationStrategy.ON_PROFILE_CHANGE)  # not always that of the largest
    context = engine.create_execution_context(config)
    if context is None:
        raise RtxError(f"{name}: not made ready: {_log.why()}. Where GPU memory is short, build for smaller calls: masklet-build engine --objects")
    return Context(context, cache_of_kernels)


def set_shapes(context: trt.IExecutionContext, name: str, shapes: Mapping[str, tuple[int, ...]]) -> None:
    """Tells a context the input shapes of the next call. Raises RtxError."""
    for tensor, shape in shapes.items():
        agreed(context.set_input_shape(tensor, shape), name, f"take {tensor} {list(shape)}")


def agreed(done: bool, name: str, what: str) -> None:
    """Raises RtxError where TensorRT for RTX did not do what it was asked."""
    if not done:
        raise RtxError(f"{name}: TensorRT for RTX does not {what}: {_log.why()}")

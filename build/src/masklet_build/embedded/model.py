"""Triton model that runs an ONNX engine on a CPU, in place of a backend that the Triton of the PyPI wheel does not have.

Config parameters: `runtime` (openvino, onnxruntime), `precision` (fp32, bf16; bf16 only on OpenVINO), `threads` (0: all cores).
Beside this file lies `engine.onnx`. A variant that pools its memory has another graph for a single memory: `engine_first.onnx`.

With `max_batch_size` > 0 (image_encoder) the requests of a batch are run together and never fail: this model stands before memory_bank,
and a failed request would lose START or END of its video. What cannot be computed becomes NaN, and memory_bank answers that frame with an error.
With `max_batch_size` 0 (the engines that memory_bank calls) a failure is an error answer.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import triton_python_backend_utils as pb_utils

Tensors = dict[str, np.ndarray]


class Runner(Protocol):
    """One graph, ready to run. The arrays that it returns are the caller's to keep."""

    def __call__(self, inputs: Tensors) -> Tensors:
        """Runs the graph. Raises what the runtime raises."""


class OpenVinoRunner:
    """A graph compiled by OpenVINO for the CPU."""

    def __init__(self, file: Path, precision: str, threads: int) -> None:
        import openvino

        properties = {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_PRECISION_HINT": {"fp32": "f32", "bf16": "bf16"}[precision],
            "INFERENCE_NUM_THREADS": threads,  # 0: all that this process may use; so in ONNX Runtime
        }
        compiled = openvino.Core().compile_model(str(file), "CPU", properties)
        self._request = compiled.create_infer_request()
        self._names = [output.get_any_name() for output in compiled.outputs]

    def __call__(self, inputs: Tensors) -> Tensors:
        """Runs the graph: inputs are read where they lie, outputs copied once, because the next run overwrites the runtime's own."""
        results = self._request.infer(inputs, share_inputs=True, share_outputs=False)
        return dict(zip(self._names, results.values(), strict=True))


class OnnxRuntimeRunner:
    """A graph run by ONNX Runtime on the CPU, in fp32."""

    def __init__(self, file: Path, precision: str, threads: int) -> None:
        import onnxruntime

        if precision != "fp32":
            raise ValueError(f"ONNX Runtime computes in fp32 on a CPU, not in {precision}. Use runtime openvino, or precision fp32.")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        # Five engines share the cores: a pool that spins while it waits takes them from the engine whose turn it is.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self._session = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
        self._names = [output.name for output in self._session.get_outputs()]

    def __call__(self, inputs: Tensors) -> Tensors:
        """Runs the graph."""
        return dict(zip(self._names, self._session.run(None, inputs), strict=True))


_RUNNERS: dict[str, Callable[[Path, str, int], Runner]] = {"openvino": OpenVinoRunner, "onnxruntime": OnnxRuntimeRunner}


class Engine:
    """The engine of one model: one graph, or two where a single memory needs a graph of its own."""

    def __init__(self, folder: Path, parameters: dict[str, str]) -> None:
        runtime, precision, threads = (_required(parameters, name) for name in ("runtime", "precision", "threads"))
        if runtime not in _RUNNERS or precision not in ("fp32", "bf16") or not threads.isdigit():
            raise ValueError(
                f"runtime {runtime!r}, precision {precision!r}, threads {threads!r}: "
                "use runtime openvino or onnxruntime, precision fp32 or bf16, and threads 0 (all cores) or more."
            )
        self._run = _start(runtime, folder / "engine.onnx", precision, int(threads))
        first = folder / "engine_first.onnx"
        self._run_first = _start(runtime, first, precision, int(threads)) if first.exists() else None

    def __call__(self, inputs: Tensors) -> Tensors:
        """Runs the graph that fits the inputs: MEMORY is [B, F, T, 64], and F = 1 may have its own graph."""
        if self._run_first is not None and inputs["MEMORY"].shape[1] == 1:
            return self._run_first(inputs)
        return self._run(inputs)


def _start(runtime: str, file: Path, precision: str, threads: int) -> Runner:
    if not file.exists():
        raise FileNotFoundError(f"{file} is missing. Assemble the model repository again.")
    try:
        return _RUNNERS[runtime](file, precision, threads)
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"package {error.name!r} is not installed in Triton's python environment. Install it, or assemble with another --runtime."
        ) from error


def _required(parameters: dict[str, str], name: str) -> str:
    if name not in parameters:
        raise ValueError(f"config parameter {name!r} is missing. `masklet-build assemble --target embedded` writes it.")
    return parameters[name]


class TritonPythonModel:
    """Config in, engine runs, responses out."""

    def initialize(self, args: dict[str, str]) -> None:
        """Loads and compiles the engine. Raises where the config, the file or a package is missing or wrong."""
        config = json.loads(args["model_config"])
        self._name = config["name"]
        self._batched = config["max_batch_size"] > 0
        self._outputs = {entry["name"]: tuple(int(dim) for dim in entry["dims"]) for entry in config["output"]}
        parameters = {name: value["string_value"] for name, value in config["parameters"].items()}
        self._engine = Engine(Path(args["model_repository"]) / args["model_version"], parameters)

    def execute(self, requests: list[Any]) -> list[Any]:
        """One response per request, in order."""
        inputs = [{tensor.name(): tensor.as_numpy() for tensor in request.inputs()} for request in requests]
        if self._batched:
            return [_response(outputs) for outputs in self._run_together(inputs)]
        return [self._respond(one) for one in inputs]

    def _respond(self, inputs: Tensors) -> Any:
        try:
            return _response(self._engine(inputs))
        except Exception as error:
            message = f"engine {self._name} failed with {type(error).__name__}: {error}"
            pb_utils.Logger.log_error(message)
            return pb_utils.InferenceResponse(error=pb_utils.TritonError(message))

    def _run_together(self, inputs: list[Tensors]) -> list[Tensors]:
        """Runs a batch at once; where that fails, request by request, so that a bad one spoils no other."""
        try:
            joined = {name: np.concatenate([one[name] for one in inputs]) for name in inputs[0]} if len(inputs) > 1 else inputs[0]
            outputs = self._engine(joined)
            ends = np.cumsum([_rows(one) for one in inputs])[:-1]
            parts = {name: np.split(array, ends) for name, array in outputs.items()}
            return [{name: parts[name][index] for name in parts} for index in range(len(inputs))]
        except Exception as error:
            if len(inputs) > 1:
                return [self._run_together([one])[0] for one in inputs]
            pb_utils.Logger.log_error(f"engine {self._name} failed with {type(error).__name__}: {error}")
            return [{name: np.full((_rows(inputs[0]), *dims), math.nan, np.float32) for name, dims in self._outputs.items()}]


def _rows(inputs: Tensors) -> int:
    return next(iter(inputs.values())).shape[0]


def _response(outputs: Tensors) -> Any:
    return pb_utils.InferenceResponse([pb_utils.Tensor(name, array) for name, array in outputs.items()])

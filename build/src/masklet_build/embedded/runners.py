"""ONNX engines on a CPU, in place of a backend that the Triton of the PyPI wheel does not have.

Assembly lays this module beside the python models that run engines: image_encoder, and memory_bank, in whose process the others run.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Protocol

import numpy as np

Tensors = Mapping[str, np.ndarray]


class Runner(Protocol):
    """One graph, ready to run."""

    def __call__(self, inputs: Tensors) -> dict[str, np.ndarray]:
        """Runs the graph. Raises what the runtime raises."""


class OpenVinoRunner:
    """A graph compiled by OpenVINO for the CPU."""

    def __init__(self, file: Path, precision: str, threads: int, lasting: bool) -> None:
        import openvino

        properties = {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_PRECISION_HINT": {"fp32": "f32", "bf16": "bf16"}[precision],
            "INFERENCE_NUM_THREADS": threads,  # 0: all that this process may use; so in ONNX Runtime
        }
        compiled = openvino.Core().compile_model(str(file), "CPU", properties)
        self._request = compiled.create_infer_request()
        self._names = [output.get_any_name() for output in compiled.outputs]
        self._lasting = lasting

    def __call__(self, inputs: Tensors) -> dict[str, np.ndarray]:
        """Runs the graph. Inputs are read where they lie; the next run overwrites outputs, unless they are to last and so are copied."""
        results = self._request.infer(dict(inputs), share_inputs=True, share_outputs=not self._lasting)
        return dict(zip(self._names, results.values(), strict=True))


class OnnxRuntimeRunner:
    """A graph run by ONNX Runtime on the CPU, in fp32. Its outputs last in any case."""

    def __init__(self, file: Path, precision: str, threads: int, lasting: bool) -> None:
        import onnxruntime

        if precision != "fp32":
            raise ValueError(f"ONNX Runtime computes in fp32 on a CPU, not in {precision}. Use runtime openvino, or precision fp32.")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        # Five engines share the cores: a pool that spins while it waits takes them from the engine whose turn it is.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self._session = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
        self._names = [output.name for output in self._session.get_outputs()]

    def __call__(self, inputs: Tensors) -> dict[str, np.ndarray]:
        """Runs the graph."""
        return dict(zip(self._names, self._session.run(None, dict(inputs)), strict=True))


_RUNNERS: dict[str, Callable[[Path, str, int, bool], Runner]] = {"openvino": OpenVinoRunner, "onnxruntime": OnnxRuntimeRunner}


def start(file: Path, parameters: Mapping[str, str], *, lasting: bool = True) -> Runner:
    """Loads and compiles the engine in `file`.

    parameters  of the model's config: `runtime` (openvino, onnxruntime), `precision` (fp32, bf16; bf16 only on OpenVINO), `threads` (0: all cores)
    lasting     whether arrays that a run gives outlive the next run
    Raises ValueError, FileNotFoundError or ModuleNotFoundError where the config, the file or a package is wrong or missing.
    """
    runtime, precision, threads = (_required(parameters, name) for name in ("runtime", "precision", "threads"))
    if runtime not in _RUNNERS or precision not in ("fp32", "bf16") or not threads.isdigit():
        raise ValueError(
            f"runtime {runtime!r}, precision {precision!r}, threads {threads!r}: "
            "use runtime openvino or onnxruntime, precision fp32 or bf16, and threads 0 (all cores) or more."
        )
    if not file.exists():
        raise FileNotFoundError(f"{file} is missing. Assemble the model repository again.")
    try:
        return _RUNNERS[runtime](file, precision, int(threads), lasting)
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"package {error.name!r} is not installed in Triton's python environment. Install it, or assemble with another --runtime."
        ) from error


def _required(parameters: Mapping[str, str], name: str) -> str:
    if name not in parameters:
        raise ValueError(f"config parameter {name!r} is missing. `masklet-build assemble --target embedded` writes it.")
    return parameters[name]

"""Triton model that runs one engine, `engine.onnx` or `engine.pt2` beside this file (see engine.py).

With `max_batch_size` > 0 (image_encoder) the requests of a batch are run together and never fail: this model stands before memory_bank,
and a failed request would lose START or END of its video. What cannot be computed becomes NaN, and memory_bank answers that frame with an error.
With `max_batch_size` 0 (the engines of memory_bank, with target `separate`) a failure is an error answer.
"""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path
from typing import Any

# The modules that were vendored beside this file win over an installed masklet-build of another version.
sys.path.insert(0, str(Path(__file__).parent))

import numpy as np
import triton_python_backend_utils as pb_utils

from masklet_build.embedded.engine import Engine

Tensors = dict[str, np.ndarray]


class TritonPythonModel:
    """Config in, engine runs, responses out."""

    def initialize(self, args: dict[str, str]) -> None:
        """Loads and compiles the engine. Raises where the config, the file or a package is missing or wrong."""
        config = json.loads(args["model_config"])
        self._name = config["name"]
        self._batched = config["max_batch_size"] > 0
        self._outputs = {entry["name"]: tuple(int(dim) for dim in entry["dims"]) for entry in config["output"]}
        parameters = {name: value["string_value"] for name, value in config["parameters"].items()}
        by_video = () if self._batched else None
        self._engine = Engine(Path(args["model_repository"]) / args["model_version"] / "engine", parameters, by_video)
        pb_utils.Logger.log_info(f"{self._name}: {self._engine.place}")

    def execute(self, requests: list[Any]) -> list[Any]:
        """One response per request, in order."""
        inputs = [{tensor.name(): tensor.as_numpy() for tensor in request.inputs()} for request in requests]
        if self._batched:
            return [_response(outputs) for outputs in self._run_together(inputs)]
        return [self._respond(one) for one in inputs]

    def _run(self, inputs: Tensors) -> Tensors:
        """Outputs of the engine, which outlive its next run."""
        return {name: array.copy() for name, array in self._engine(inputs).items()}

    def _respond(self, inputs: Tensors) -> Any:
        try:
            return _response(self._run(inputs))
        except Exception as error:
            message = f"engine {self._name} failed with {type(error).__name__}: {error}"
            pb_utils.Logger.log_error(message)
            return pb_utils.InferenceResponse(error=pb_utils.TritonError(message))

    def _run_together(self, inputs: list[Tensors]) -> list[Tensors]:
        """Runs a batch at once; where that fails, request by request, so that a bad one spoils no other."""
        try:
            joined = {name: np.concatenate([one[name] for one in inputs]) for name in inputs[0]} if len(inputs) > 1 else inputs[0]
            outputs = self._run(joined)
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

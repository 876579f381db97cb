"""Triton model that runs one engine, `engine.onnx`, `engine.pt2` or `engine.plan` beside this file (see engine.py).

With `max_batch_size` > 0 (image_encoder) the requests of a batch are run together and never fail: this model stands before memory_bank,
and a failed request would lose START or END of its video. What goes wrong is written into the envelope, and memory_bank answers with it.
With `max_batch_size` 0 (the engines of memory_bank, with target `separate`) a failure is an error answer.
"""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

# The modules that were vendored beside this file win over an installed masklet-build of another version.
sys.path.insert(0, str(Path(__file__).parent))

import numpy as np
import triton_python_backend_utils as pb_utils

from masklet.envelope import Envelope
from masklet.errors import BadRequest, MaskletError, ServerFault
from masklet.heap import MIB
from masklet.stage import triton_stage
from masklet_build.embedded.engine import Engine
from masklet_build.embedded.logs import tell_triton

Tensors = dict[str, np.ndarray]

# Every call allocates the same sizes, so there are no holes; as the system's own each block would cost page faults in every call.
_LARGEST = 32 * MIB


class TritonPythonModel:
    """Config in, engine runs, responses out."""

    def initialize(self, args: dict[str, str]) -> None:
        """Loads and compiles the engine. Raises where the config, the file or a package is missing or wrong."""
        config = json.loads(args["model_config"])
        self._name = config["name"]
        self._batched = config["max_batch_size"] > 0
        self._outputs = {entry["name"]: tuple(int(dim) for dim in entry["dims"]) for entry in config["output"] if entry["name"] != "ENVELOPE"}
        parameters = {name: value["string_value"] for name, value in config["parameters"].items()}
        by_video = () if self._batched else None
        tell_triton(pb_utils.Logger)
        self._engine = Engine(Path(args["model_repository"]) / args["model_version"] / "engine", parameters, by_video)
        self._stage = triton_stage(pb_utils, args, system_blocks=_LARGEST)
        pb_utils.Logger.log_info(f"{self._name}: {self._engine.place}")

    def execute(self, requests: list[Any]) -> list[Any]:
        """One response per request, in order."""
        with self._stage.working():
            if not self._batched:
                return [self._respond({tensor.name(): tensor.as_numpy() for tensor in request.inputs()}) for request in requests]
            return self._encode(requests)

    def finalize(self) -> None:
        """The watch ends."""
        self._stage.close()

    def _encode(self, requests: list[Any]) -> list[Any]:
        """Features of each request's image beside its envelope. What fails becomes an error in the envelope."""
        arrived = [self._arrive(request) for request in requests]
        images = [image for image, _ in arrived if image is not None]
        results = iter(self._run_together(images) if images else [])
        made = [next(results) if image is not None else None for image, _ in arrived]
        return [self._leave(*parts) for parts in zip(requests, made, (envelope for _, envelope in arrived), strict=True)]

    def _arrive(self, request: Any) -> tuple[Tensors | None, Envelope | MaskletError]:
        """Inputs of the engine and envelope of a request; None where nothing is to be computed, an error where the envelope is nobody's."""
        try:
            inputs = {tensor.name(): tensor.as_numpy() for tensor in request.inputs()}
            envelope = self._stage.receive(inputs.pop("ENVELOPE")[0], request.request_id(), request.correlation_id())
            return (inputs if envelope.size is not None and not envelope.error else None), envelope
        except BadRequest as error:
            return None, error
        except Exception as error:
            return None, self._failed(Envelope(token=request.request_id(), video=request.correlation_id(), restores=True), error)

    def _leave(self, request: Any, outputs: Tensors | Exception | None, envelope: Envelope | MaskletError) -> Any:
        if isinstance(envelope, MaskletError):
            return pb_utils.InferenceResponse(error=pb_utils.TritonError(envelope.wire(request.request_id())))
        if isinstance(outputs, Exception):
            envelope = self._failed(envelope, outputs)
        if not isinstance(outputs, dict):
            outputs = {name: np.zeros((1, *dims), np.float32) for name, dims in self._outputs.items()}
        return _response({**outputs, "ENVELOPE": self._stage.send(envelope)[None]})

    def _failed(self, envelope: Envelope, error: Exception) -> Envelope:
        """An envelope that memory_bank answers with the error."""
        if not isinstance(error, MaskletError):
            pb_utils.Logger.log_error(f"engine {self._name} failed with {type(error).__name__}: {error}")
            error = ServerFault("the image encoder failed on this frame. The video goes on; the server's log says why.")
        return replace(envelope, error=error.wire())

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

    def _run_together(self, inputs: list[Tensors]) -> list[Tensors | Exception]:
        """Runs a batch at once; where that fails, request by request, so that a bad one spoils no other."""
        try:
            joined = {name: np.concatenate([one[name] for one in inputs]) for name in inputs[0]} if len(inputs) > 1 else inputs[0]
            outputs = self._run(joined)
            ends = np.cumsum([_rows(one) for one in inputs])[:-1]
            parts = {name: np.split(array, ends) for name, array in outputs.items()}
            return [{name: parts[name][index] for name in parts} for index in range(len(inputs))]
        except Exception as error:
            return [self._run_together([one])[0] for one in inputs] if len(inputs) > 1 else [error]


def _rows(inputs: Tensors) -> int:
    return next(iter(inputs.values())).shape[0]


def _response(outputs: Tensors) -> Any:
    return pb_utils.InferenceResponse([pb_utils.Tensor(name, array) for name, array in outputs.items()])

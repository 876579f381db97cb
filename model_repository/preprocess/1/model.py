"""Triton model `preprocess`: any request becomes the fixed tensors of `contract.preprocess`. Stateless.

It never fails a request: if START or END of a video did not reach memory_bank, the video would break. What is wrong with a request
travels on as STATUS, and memory_bank answers with it.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

# Triton appends this folder to sys.path. In front, the modules vendored beside this file win over an installed masklet.
sys.path.insert(0, str(Path(__file__).resolve().parent))

import numpy as np
import triton_python_backend_utils as pb_utils

from masklet.errors import MaskletError, ServerFault
from masklet.families import variant
from masklet_preprocess.limits import Limits
from masklet_preprocess.request import Request, prepare, refuse
from masklet_preprocess.tensors import Tensors


class TritonPythonModel:
    """Config in, one loop over requests, responses out."""

    def initialize(self, args: dict[str, str]) -> None:
        """Reads the variant and the limits. Raises ValueError where a config parameter is missing or wrong."""
        config = json.loads(args["model_config"])
        parameters = {name: value["string_value"] for name, value in config["parameters"].items()}
        self._variant = variant(parameters.get("variant", ""))
        self._limits = Limits.from_parameters(parameters)

    def execute(self, requests: list[Any]) -> list[Any]:
        """One response per request, every output in each."""
        return [self._respond(request) for request in requests]

    def _respond(self, request: Any) -> Any:
        begin = time.monotonic()
        try:
            return _response(prepare(_read(request), self._variant, self._limits), begin)
        except MaskletError as error:
            return self._refuse(request, error, begin)
        except Exception as error:
            pb_utils.Logger.log_error(f"preprocess: {type(error).__name__}: {error}")
            fault = ServerFault(f"preprocess failed with {type(error).__name__}: {error}. Report it with the request that caused it.")
            return self._refuse(request, fault, begin)

    def _refuse(self, request: Any, error: MaskletError, begin: float) -> Any:
        restores = any(tensor.name() == "STATE" for tensor in request.inputs())
        return _response(refuse(error, self._variant, restores=restores), begin)


def _read(request: Any) -> Request:
    arrays = {tensor.name(): tensor.as_numpy()[0] for tensor in request.inputs()}
    return Request(
        frame=arrays.get("FRAME"),
        encoded=arrays["FRAME_ENCODED"][0] if "FRAME_ENCODED" in arrays else None,
        prompts=arrays["PROMPTS"][0] if "PROMPTS" in arrays else None,
        state=arrays.get("STATE"),
        parameters=request.parameters(),
    )


def _response(tensors: Tensors, begin: float) -> Any:
    """A response with a batch dimension of 1 in front of every tensor."""
    clock = np.array([begin, time.monotonic()])
    return pb_utils.InferenceResponse([pb_utils.Tensor(name, array[None]) for name, array in (tensors | {"CLOCK": clock}).items()])

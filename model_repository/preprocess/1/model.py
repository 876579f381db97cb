"""Triton model `preprocess`: any request becomes the fixed tensors of `contract.preprocess`. Stateless.

It never fails a request: if START or END of a video did not reach memory_bank, the video would break. What is wrong with a request
travels on in the envelope, and memory_bank answers with it.
"""

from __future__ import annotations

import json
import re
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

# Triton appends this folder to sys.path. In front, the modules vendored beside this file win over an installed masklet.
sys.path.insert(0, str(Path(__file__).resolve().parent))

import triton_python_backend_utils as pb_utils

from masklet.errors import BadRequest, MaskletError, ServerFault
from masklet.families import variant
from masklet.stage import triton_stage
from masklet_preprocess.forwarded import patterns, triton_words, without_headers
from masklet_preprocess.limits import Limits, positive
from masklet_preprocess.request import Inputs, Prepared, Tensors, prepare, refuse

_MAX_ID = 128  # characters


class TritonPythonModel:
    """Config in, one loop over requests, responses out."""

    def initialize(self, args: dict[str, str]) -> None:
        """Reads the variant and the limits. Raises ValueError where a config parameter is missing or wrong."""
        config = json.loads(args["model_config"])
        parameters = {name: value["string_value"] for name, value in config["parameters"].items()}
        self._variant = variant(parameters.get("variant", ""), positive(parameters, "image_size"))
        self._limits = Limits.from_parameters(parameters)
        self._forwarded = _forwarded()
        self._stage = triton_stage(pb_utils, args)

    def execute(self, requests: list[Any]) -> list[Any]:
        """One response per request, every output in each."""
        with self._stage.working():
            return [self._respond(request) for request in requests]

    def finalize(self) -> None:
        """The watch ends."""
        self._stage.close()

    def _respond(self, request: Any) -> Any:
        begin = time.monotonic()
        try:
            _check_id(request.request_id())
            prepared = prepare(self._read(request), self._variant, self._limits)
        except MaskletError as error:
            prepared = self._refuse(request, error)
        except Exception as error:
            pb_utils.Logger.log_error(f"preprocess: {type(error).__name__}: {error}")
            fault = ServerFault(f"preprocess failed with {type(error).__name__}: {error}. Report it with the request that caused it.")
            prepared = self._refuse(request, fault)
        whose = {"token": request.request_id(), "video": request.correlation_id()}
        envelope = replace(prepared.envelope, **whose, received=begin, preprocessed=time.monotonic())
        return _response({**prepared.tensors, "ENVELOPE": self._stage.send(envelope)})

    def _read(self, request: Any) -> Inputs:
        arrays = {tensor.name(): tensor.as_numpy()[0] for tensor in request.inputs()}
        return Inputs(
            frame=arrays.get("FRAME"),
            size=arrays.get("FRAME_SIZE"),
            encoded=arrays["FRAME_ENCODED"][0] if "FRAME_ENCODED" in arrays else None,
            prompts=arrays["PROMPTS"][0] if "PROMPTS" in arrays else None,
            state=arrays.get("STATE"),
            parameters=without_headers(request.parameters(), self._forwarded),
        )

    def _refuse(self, request: Any, error: MaskletError) -> Prepared:
        return refuse(error, self._variant, restores=any(tensor.name() == "STATE" for tensor in request.inputs()))


def _forwarded() -> list[re.Pattern[str]]:
    try:
        return patterns(triton_words())
    except re.error as error:
        pb_utils.Logger.log_error(
            f"preprocess: python does not understand Triton's pattern {error.pattern!r} of forwarded headers ({error}). "
            "Headers that it forwards are refused as unknown parameters."
        )
        return []


def _check_id(request_id: str) -> None:
    if len(request_id) > _MAX_ID:
        raise BadRequest(f"the request's id has {len(request_id)} characters; at most {_MAX_ID} are taken. 32 random ones tell answers apart.")


def _response(tensors: Tensors) -> Any:
    """A response with a batch dimension of 1 in front of every tensor."""
    return pb_utils.InferenceResponse([pb_utils.Tensor(name, array[None]) for name, array in tensors.items()])

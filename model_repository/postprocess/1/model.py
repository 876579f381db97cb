"""Triton model `postprocess`: low-resolution logits become masks at frame size and boxes. Stateless.

It is the last step, so unlike the steps before memory_bank it may fail a request: nothing comes after it that could lose START or END. But
memory_bank has committed by then, so what fails here costs the video: its client cannot know what the memories hold.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

# Triton appends this folder to sys.path. In front, the modules vendored beside this file win over an installed masklet.
sys.path.insert(0, str(Path(__file__).resolve().parent))

import numpy as np
import triton_python_backend_utils as pb_utils

from masklet.errors import BadRequest, MaskletError, ServerFault, VideoLost
from masklet.stage import ANOTHER, triton_stage
from masklet_postprocess.request import finish

_LOST = "What this video's memories hold is not known. Open a new video and prompt again, or restore a snapshot."


class TritonPythonModel:
    """One loop over requests, responses out."""

    def initialize(self, args: dict[str, str]) -> None:
        """Begins to watch."""
        self._stage = triton_stage(pb_utils, args)

    def execute(self, requests: list[Any]) -> list[Any]:
        """One response per request. A request that fails takes no other with it."""
        with self._stage.working():
            return [self._respond(request) for request in requests]

    def finalize(self) -> None:
        """The watch ends."""
        self._stage.close()

    def _respond(self, request: Any) -> Any:
        try:
            return self._answer(request)
        except BadRequest as error:  # it did not come from memory_bank
            return _refusal(error, request)
        except ServerFault:  # it came with memory_bank's answer to another request, whose own may have been computed or not
            return _refusal(VideoLost(f"memory_bank {ANOTHER}. {_LOST}"), request)
        except Exception as error:
            pb_utils.Logger.log_error(f"postprocess: {type(error).__name__}: {error}")
            return _refusal(VideoLost(f"postprocess failed with {type(error).__name__}: {error} {_LOST}"), request)

    def _answer(self, request: Any) -> Any:
        begin = time.monotonic()
        arrays = {tensor.name(): tensor.as_numpy()[0] for tensor in request.inputs()}
        envelope = self._stage.receive(arrays["ENVELOPE"], request.request_id(), request.correlation_id())
        tensors = finish(arrays["LOW"], envelope)
        tensors["TIMING"] = np.array([*envelope.times, 1000 * (time.monotonic() - begin)], np.float32)
        return pb_utils.InferenceResponse([pb_utils.Tensor(name, array[None]) for name, array in tensors.items()])


def _refusal(error: MaskletError, request: Any) -> Any:
    return pb_utils.InferenceResponse(error=pb_utils.TritonError(error.wire(request.request_id())))

"""Envelopes as a stage of this process's server signs them, and the requests of Triton that carry them."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from masklet.envelope import Envelope, Sender, server_key, sign, verify
from masklet_bank.request import Request


def sealed(envelope: Envelope, *, stage: str = "preprocess_0_0", pid: int | None = None, stopped: bool = False) -> np.ndarray:
    """ENVELOPE, signed just now, without batch dimension. stage, pid, stopped: who signed it."""
    return np.frombuffer(sign(envelope, Sender(stage, pid or os.getpid(), stopped, time.monotonic()), server_key()), np.uint8)


def opened(data: np.ndarray) -> Envelope:
    """The envelope that a stage signed."""
    return verify(data.tobytes(), server_key())[0]


def bank_tensors(made: Request) -> dict[str, np.ndarray]:
    """The inputs of memory_bank that make this request, without batch dimension."""
    lows = {} if made.lows is None else {"PROMPT_LOW": made.lows}
    return {**made.features, "ENVELOPE": sealed(made.envelope), "PROMPT_MASKS": made.masks, **lows, "RESTORE": made.state}


def bank_request(utils: Any, made: Request, tensor: Callable[[str, np.ndarray], Any] | None = None, **changes: np.ndarray | None) -> Any:
    """The request of Triton that hands `made` to memory_bank.

    tensor: lays an input where it shall be; changes: other inputs, None for one left out.
    """
    tensors: Mapping[str, np.ndarray | None] = {**bank_tensors(made), **changes}
    inputs = [(tensor or utils.Tensor)(name, array[None]) for name, array in tensors.items() if array is not None]
    flags = utils.TRITONSERVER_REQUEST_FLAG_SEQUENCE_START * made.start + utils.TRITONSERVER_REQUEST_FLAG_SEQUENCE_END * made.end
    parameters = {} if made.owner is None else {"owner": made.owner}
    return utils.InferenceRequest(made.envelope.token, made.video_id, inputs, flags=flags, parameters=parameters)

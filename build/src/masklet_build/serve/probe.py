"""Asks a server a real question: a video that starts and ends without a frame.

Triton reports a model as ready whose python stub died, for ever and at every health endpoint, so only a request tells.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from enum import Enum

from masklet.contract import TRACKER

_STUB_DIED = "is not healthy"  # "Stub process 'memory_bank_0_0' is not healthy.": it does not come back


class Health(Enum):
    """What a probe found."""

    ALIVE = "alive"
    DEAD = "dead"
    DOUBTFUL = "doubtful"  # silence or an answer that we do not know; overload looks like that too


@dataclass(frozen=True)
class Finding:
    """Result of a probe, with the server's own words where it is not alive."""

    health: Health
    text: str = ""


def probe(url: str, deadline_s: float, model: str = TRACKER.name) -> Finding:
    """Sends a tracker one control request (START and END, no frame, a random correlation id) and judges the answer.

    A refusal by masklet itself, such as "the server is full", is a sign of life. Never raises for what the server does.
    """
    import numpy as np
    import tritonclient.grpc as grpc
    from tritonclient.utils import InferenceServerException

    prompts = grpc.InferInput("PROMPTS", [1, 1], "BYTES")
    prompts.set_data_from_numpy(np.array([[b"[]"]], dtype=np.object_))
    client = grpc.InferenceServerClient(url)
    try:
        video = secrets.randbits(62) + 1  # 0 is no id
        client.infer(model, [prompts], sequence_id=video, sequence_start=True, sequence_end=True, client_timeout=deadline_s)
    except InferenceServerException as error:
        return _judge(error.message() or str(error), deadline_s)
    finally:
        client.close()
    return Finding(Health.ALIVE)


def _judge(text: str, deadline_s: float) -> Finding:
    if "MASKLET_" in text:
        return Finding(Health.ALIVE)
    if _STUB_DIED in text:
        return Finding(Health.DEAD, text)
    if "Deadline Exceeded" in text:
        return Finding(Health.DOUBTFUL, f"no answer within {deadline_s:g} s")
    return Finding(Health.DOUBTFUL, text)

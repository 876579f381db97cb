"""Whether a server is alive, and whether it takes videos.

Triton 2.51 reports a model as ready whose python process died, for ever and at every health endpoint, so only a request tells.
"""

from __future__ import annotations

import secrets
import time
from dataclasses import dataclass
from enum import Enum

import numpy as np

from masklet import results
from masklet.contract import TRACKER
from masklet.errors import MaskletError, ServerFault, from_server
from masklet.gauges import read_banks
from masklet.inputs import bytes_tensor, raw_tensors
from masklet.stage import ANOTHER
from masklet.transport.grpc_transport import GrpcTransport
from masklet.transport.protocol import Answer, Event, Request, Tls, stream_headers

_FRAME = np.zeros((32, 32, 3), np.uint8)
_PROMPTS = b'[{"object": 1, "points": [[16, 16]], "labels": [1]}]'
_INSTANCES = 2  # of preprocess and of postprocess
_OWN = "MASKLET_"  # begins the errors of masklet's own models
_STUB_DIED = "is not healthy"  # "Stub process 'memory_bank_0_0' is not healthy.": it does not come back


class Health(Enum):
    """What a probe found."""

    ALIVE = "alive"
    DEAD = "dead"
    DOUBTFUL = "doubtful"  # silence, a failure inside, or an answer that we do not know; overload looks like the first


@dataclass(frozen=True)
class Finding:
    """Result of a probe, with the server's own words where it is not alive."""

    health: Health
    text: str = ""


def probe(url: str, timeout_s: float, model: str = TRACKER.name, tls: Tls | None = None) -> Finding:
    """Sends a tracker two videos of one black frame with a click, under random ids, and judges the answers.

    They go the way of every frame: preprocess, image_encoder, the engines and the bank, postprocess; only memory_attention has nothing to do in
    them. Two, together: Triton gives videos to the instances of a model in turn, so if one of two is dead every other video fails, and probes one at
    a time would find a whole server again and again. As videos whose first request is their last they take no place, so a full or draining server
    answers them too; where no memory is left for their objects the refusal is the sign of life.

    Never raises for what the server does; ValueError for a url that is none, OSError for PEM files that cannot be read.
    """
    deadline = time.monotonic() + timeout_s
    video_ids = [secrets.randbelow(2**63 - 1) + 1 for _ in range(_INSTANCES)]
    stream = GrpcTransport(url, tls=tls, model=model).open_stream(stream_headers({}, video_ids[0]))
    try:
        requests = [Request(video_id, True, True, {**raw_tensors(_FRAME), "PROMPTS": bytes_tensor(_PROMPTS)}, {}) for video_id in video_ids]
        for request in requests:
            stream.send(request)
        asked = {request.id for request in requests}
        for _ in requests:
            event = stream.receive(deadline - time.monotonic())
            stream.advance()
            assert event is not None  # nobody wakes it
            finding = _judge(event, asked)
            if finding.health is not Health.ALIVE:
                return finding
        return Finding(Health.ALIVE)
    except TimeoutError:
        return Finding(Health.DOUBTFUL, f"no answer within {timeout_s:g} s")
    finally:
        stream.close(cancel=True)


def _judge(event: Event, asked: set[str]) -> Finding:
    """What an event says. `asked`: the ids of the requests; a server that answers one with what belongs to another is out of step, and stays so."""
    if isinstance(event, Answer):
        try:
            token = results.token(event.tensors)
        except ServerFault as other_version:
            return Finding(Health.DOUBTFUL, str(other_version))
        if token != event.id or token not in asked:
            return Finding(Health.DEAD, f"request {event.id} was answered with the answer to {token}: its stages are out of step")
        return Finding(Health.ALIVE)
    if ANOTHER in event.text:
        return Finding(Health.DEAD, event.text)
    if _STUB_DIED in event.text:
        return Finding(Health.DEAD, event.text)
    if _OWN in event.text and not isinstance(from_server(event.text), ServerFault):
        return Finding(Health.ALIVE)
    return Finding(Health.DOUBTFUL, event.text)


def unready(url: str, metrics_url: str, timeout_s: float, model: str = TRACKER.name, tls: Tls | None = None) -> str:
    """Why a server should get no new videos now; empty where it should: Triton and the model are ready, there is room, and it does not drain.

    No request of a video is sent, so a busy server is asked as fast as an idle one. Raises ValueError and OSError as `probe`.
    """
    try:
        if not GrpcTransport(url, tls=tls, model=model).is_ready(timeout_s):
            return f"{url} says that it, or its model {model}, is not ready"
        banks = read_banks(metrics_url, timeout_s)
    except MaskletError as error:
        return str(error)
    if model not in banks:
        return f"{metrics_url} knows nothing of {model}, only of {', '.join(sorted(banks))}"
    bank = banks[model]
    if bank.draining:
        return f"draining, {bank.videos} videos are still live"
    if not bank.has_room:
        return f"full: {bank.videos} of {bank.videos_limit} videos, {bank.reserved_bytes >> 20} of {bank.limit_bytes >> 20} MiB of memories"
    return ""

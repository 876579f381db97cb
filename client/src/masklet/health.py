"""A real frame through every model of a server, and what its answer says of the server. What counters say: masklet.liveness."""

from __future__ import annotations

import secrets
import time

import numpy as np

from masklet import results
from masklet.contract import TRACKER
from masklet.errors import ServerFault, from_server
from masklet.inputs import bytes_tensor, raw_tensors
from masklet.stage import ANOTHER
from masklet.transport.grpc_transport import GrpcTransport
from masklet.transport.protocol import Answer, Event, Request, Tls, stream_headers
from masklet.vitals import UNANSWERED, Finding, Health

_FRAME = np.zeros((32, 32, 3), np.uint8)
_PROMPTS = b'[{"object": 1, "points": [[16, 16]], "labels": [1]}]'
_INSTANCES = 2  # of preprocess and of postprocess
_OWN = "MASKLET_"  # begins the errors of masklet's own models
GIVEN_UP = "is not healthy"  # "Stub process 'memory_bank_0_0' is not healthy.": Triton asks it no more, whether it died or was stopped for a second


def probe(url: str, timeout_s: float, model: str = TRACKER.name, tls: Tls | None = None) -> Finding:
    """Sends a tracker two videos of one black frame with a click, under random ids, and judges the answers.

    They go the way of every frame: preprocess, image_encoder, the engines and the bank, postprocess; only memory_attention has nothing to do in
    them. Two, together: Triton gives videos to the instances of a model in turn, so if one of two is dead every other video fails, and probes one at
    a time would find a whole server again and again. As videos whose first request is their last they take no place, so a full or draining server
    answers them too; where no memory is left for their objects the refusal is the sign of life.

    Silence, a failure inside, and an answer that nobody knows are DOUBTFUL: overload looks like the first.

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
        return Finding(Health.DOUBTFUL, f"{UNANSWERED} {timeout_s:.3g} s")
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
    if GIVEN_UP in event.text:
        return Finding(Health.DEAD, event.text)
    if _OWN in event.text and not isinstance(from_server(event.text), ServerFault):
        return Finding(Health.ALIVE)
    return Finding(Health.DOUBTFUL, event.text)

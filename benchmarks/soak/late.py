"""A client that sends many frames and reads its answers late: gateway and server have to hold them, or to stop reading."""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator

import grpc
import numpy as np
from tritonclient.grpc import service_pb2_grpc

from benchmarks.fuzz.messages import Content, Message, some_id, token
from benchmarks.soak.scripts import Script

_FRAMES = 40  # fewer than a gateway lets wait on a stream
_OPTIONS = [("grpc.use_local_subchannel_pool", 1), ("grpc.max_receive_message_length", -1)]
_ANSWER_S = 120.0
_LARGE = {"logits": True, "masks": "bitmap"}  # answers of many bytes


def read_late(url: str, script: Script, stopping: threading.Event, seconds: float, chance: random.Random) -> tuple[list[str], list[str], str]:
    """Reads nothing for so many seconds, then all. Ids of the requests that were answered and of those that were sent, and errors in words."""
    video_id = some_id(chance)
    messages = list(_messages(script, video_id, chance))
    with grpc.insecure_channel(url, options=_OPTIONS) as channel:
        stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
        answers = stub.ModelStreamInfer(iter(messages), metadata=[("x-video-id", str(video_id))], timeout=seconds + _ANSWER_S)
        stopping.wait(seconds)
        came, errors, end = [], 0, "the stream ended in order"
        try:
            for answer in answers:
                errors += bool(answer.error_message)
                came.append(answer.infer_response.id)
        except grpc.RpcError as error:
            end = f"the stream ended with {error.code().name}"
    return came, [message.id for message in messages], f"{errors} errors, {end}"


def _messages(script: Script, video_id: int, chance: random.Random) -> Iterator[Message]:
    """The first frame again and again, prompted once."""
    step = script.steps[0]
    assert isinstance(step.frame, np.ndarray), "script 0 has arrays"
    prompt = [{"object": 1, "points": [[1, 1]], "labels": [1]}]
    for index in range(_FRAMES):
        content = Content({"FRAME": step.frame, "PROMPTS": [] if index else prompt}, _LARGE)
        yield content.message(video_id, start=not index, end=index == _FRAMES - 1, token=token(chance))

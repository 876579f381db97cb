"""Requests as messages of the KServe v2 protocol, right or wrong in any way: nothing is checked here."""

from __future__ import annotations

import json
import random
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from tritonclient.grpc import service_pb2

Message = Any  # service_pb2.ModelInferRequest
VideoId = int | str

_FIELDS = {bool: "bool_param", int: "int64_param", str: "string_param", float: "double_param"}
_DTYPES = {"u1": "UINT8", "i4": "INT32", "i8": "INT64", "f4": "FP32", "f8": "FP64", "u2": "UINT16", "b1": "BOOL", "f2": "FP16"}


@dataclass(frozen=True)
class Raw:
    """A tensor as it is sent, whether its parts agree or not."""

    datatype: str
    shape: tuple[int, ...]
    data: bytes


Value = np.ndarray | bytes | list[Any] | Raw


@dataclass
class Content:
    """What one request says, but for its video.

    tensors     by name: an array gets the batch dimension 1; bytes become a BYTES tensor, lists JSON; a Raw goes as it is; a FRAME [H, W, C]
                becomes the two tensors that it is
    parameters  request parameters
    """

    tensors: Mapping[str, Value]
    parameters: Mapping[str, Any] = field(default_factory=dict)

    def message(self, video_id: VideoId, *, start: bool = False, end: bool = False, token: str = "", model: str = "tracker") -> Message:
        """The message of this content as a request of a video. token: its request id."""
        message = service_pb2.ModelInferRequest(model_name=model, id=token)
        for name, value in self.tensors.items():
            if name == "FRAME" and isinstance(value, np.ndarray):
                add(message, "FRAME_SIZE", np.array(value.shape[:2], np.int32))
                value = value.reshape(-1)
            add(message, name, value)
        for name, value in {**self.parameters, "sequence_id": video_id, "sequence_start": start, "sequence_end": end}.items():
            setattr(message.parameters[name], _FIELDS[type(value)], value)
        return message


def add(message: Message, name: str, value: Value) -> None:
    """Adds a tensor to a message."""
    raw = value if isinstance(value, Raw) else tensor(value)
    message.inputs.add(name=name, datatype=raw.datatype, shape=raw.shape)
    message.raw_input_contents.append(raw.data)


def tensor(value: np.ndarray | bytes | list[Any]) -> Raw:
    """The tensor of an array, of bytes or of something that becomes JSON, with a batch dimension of 1."""
    if isinstance(value, list):
        value = json.dumps(value).encode()
    if isinstance(value, bytes):
        return Raw("BYTES", (1, 1), struct.pack("<I", len(value)) + value)
    return Raw(_DTYPES[value.dtype.str[1:]], (1, *value.shape), value.tobytes())


def token(rng: random.Random) -> str:
    """A request id that no other request has."""
    return rng.randbytes(16).hex()


def some_id(rng: random.Random) -> int:
    """A correlation id that no other video has."""
    return rng.randrange(1, 2**63)

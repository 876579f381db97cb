"""Requests and answers as protobuf messages of the KServe v2 protocol, as tritonclient defines them.

Imports tritonclient, so only the gRPC transport imports this module, when it is made.
"""

from __future__ import annotations

import struct

import numpy as np
from tritonclient.grpc import service_pb2

from masklet.contract import NUMPY_DTYPES, TRACKER
from masklet.transport.protocol import Answer, Event, Refusal, Request

_INPUT_DTYPES = {tensor.name: tensor.dtype for tensor in TRACKER.inputs}


def to_message(request: Request, model: str) -> service_pb2.ModelInferRequest:
    """The message of a request to a model of that name. The tensors are copied."""
    message = service_pb2.ModelInferRequest(model_name=model, id=request.id)
    for name, array in request.tensors.items():
        dtype = _INPUT_DTYPES[name]
        message.inputs.add(name=name, datatype=dtype, shape=array.shape)
        message.raw_input_contents.append(_pack(array) if dtype == "BYTES" else array.tobytes())
    for name, value in _parameters(request).items():
        field = {bool: "bool_param", int: "int64_param", str: "string_param"}[type(value)]
        setattr(message.parameters[name], field, value)
    return message


def _parameters(request: Request) -> dict[str, object]:
    sequence = {"sequence_id": request.video_id, "sequence_start": request.start, "sequence_end": request.end}
    return {**request.parameters, **sequence}


def to_event(message: service_pb2.ModelStreamInferResponse) -> Event:
    """What a message of the server says. The arrays are read-only views of the message."""
    response = message.infer_response
    if message.error_message:
        return Refusal(message.error_message, response.id)
    contents = zip(response.outputs, response.raw_output_contents, strict=True)
    return Answer({output.name: _array(output.datatype, tuple(output.shape), raw)[0] for output, raw in contents}, response.id)


def _array(datatype: str, shape: tuple[int, ...], raw: bytes) -> np.ndarray:
    if datatype == "BYTES":
        return _unpack(raw).reshape(shape)
    array: np.ndarray = np.frombuffer(raw, dtype=NUMPY_DTYPES[datatype])
    return array.reshape(shape)


def _pack(array: np.ndarray) -> bytes:
    """BYTES elements, each behind its length in four bytes, little-endian."""
    return b"".join(struct.pack("<I", len(element)) + element for element in array.flat)


def _unpack(raw: bytes) -> np.ndarray:
    elements, offset = [], 0
    while offset < len(raw):
        (length,) = struct.unpack_from("<I", raw, offset)
        elements.append(raw[offset + 4 : offset + 4 + length])
        offset += 4 + length
    array = np.empty(len(elements), dtype=np.object_)
    array[:] = elements
    return array

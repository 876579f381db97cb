"""Triton's python backend utilities without Triton: what our models call, with the names and behaviour of the real module (24.10).

The real module is half python, half built into the stub process, so that it cannot be imported outside a server. Only what exists there
is here; a misspelled call fails. `backend_utils()` in `fakes.loading` puts this module in place under its real name.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tests.fakes.dlpack import CPU, CUDA, PINNED, packed, unpacked

_NUMPY = {
    "TYPE_BOOL": bool,
    "TYPE_UINT8": np.uint8,
    "TYPE_UINT16": np.uint16,
    "TYPE_UINT32": np.uint32,
    "TYPE_UINT64": np.uint64,
    "TYPE_INT8": np.int8,
    "TYPE_INT16": np.int16,
    "TYPE_INT32": np.int32,
    "TYPE_INT64": np.int64,
    "TYPE_FP16": np.float16,
    "TYPE_FP32": np.float32,
    "TYPE_FP64": np.float64,
    "TYPE_STRING": np.object_,
}

TRITONSERVER_REQUEST_FLAG_SEQUENCE_START = 1
TRITONSERVER_REQUEST_FLAG_SEQUENCE_END = 2


def triton_string_to_numpy(triton_type_string: str) -> type:
    """`TYPE_FP32` -> np.float32. Raises KeyError for an unknown name."""
    return _NUMPY[triton_type_string]


class TritonModelException(Exception):
    """What the real module raises for wrong calls."""


class TritonError:
    """An error as an answer."""

    UNKNOWN, INTERNAL, NOT_FOUND, INVALID_ARG, UNAVAILABLE, UNSUPPORTED, ALREADY_EXISTS, CANCELLED = range(8)

    def __init__(self, message: str, code: int = INTERNAL) -> None:
        self._message, self._code = message, code

    def message(self) -> str:
        return self._message

    def code(self) -> int:
        return self._code


class Tensor:
    """A named array. Bytes come out as bytes, whatever went in. One that `from_dlpack` took of a GPU stays there (src/pb_tensor.cc)."""

    def __init__(self, name: str, array: np.ndarray) -> None:
        if not isinstance(array, np.ndarray):
            raise TypeError(f"Tensor(name: str, arg1: numpy.ndarray), got {type(array).__name__}")
        if array.dtype == np.object_ or array.dtype.kind == "S":
            elements = [item if isinstance(item, bytes) else str(item).encode() for item in array.ravel()]
            flat = np.empty(len(elements), dtype=np.object_)
            flat[:] = elements
            array = flat.reshape(array.shape)
        elif array.dtype.type not in _NUMPY.values() and array.dtype != np.bool_:
            raise TritonModelException("Tensor dtype is not supported.")
        self._name, self._array = name, np.ascontiguousarray(array) if array.ndim else array
        self._device = (CPU, 0)

    @staticmethod
    def from_dlpack(name: str, tensor: Any) -> Tensor:
        """Takes an object that speaks DLPack, or its capsule (which a host tensor has then come from); the memory is shared."""
        if name == "":
            raise TritonModelException("Tensor name cannot be an empty string.")
        device = (CPU, 0)
        if type(tensor).__name__ != "PyCapsule":
            if not (hasattr(tensor, "__dlpack__") and hasattr(tensor, "__dlpack_device__")):
                raise TritonModelException("Provided tensor is not supported. Tensor must be a DLPack capsule or have `__dlpack__` ...")
            device = tuple(tensor.__dlpack_device__())
            if device[0] not in (CPU, CUDA, PINNED):
                raise TritonModelException(f"DLDevice type {device[0]} is not support by Python backend.")
            if isinstance(tensor, np.ndarray):
                raise AssertionError("numpy's own capsules crash the real stub, see fakes/dlpack.py: use Tensor(name, array)")
            tensor = tensor.__dlpack__(stream=7 if device[0] == CUDA else None)
        array = unpacked(tensor)
        if not array.flags.c_contiguous:
            raise TritonModelException("DLPack tensor is not contiguous. Only contiguous DLPack tensors that are stored in C-Order are supported.")
        made = Tensor(name, array)
        made._device = device
        return made

    def name(self) -> str:
        return self._name

    def as_numpy(self) -> np.ndarray:
        if not self.is_cpu():
            raise TritonModelException("Tensor is stored in GPU and cannot be converted to NumPy.")
        return self._array

    def is_cpu(self) -> bool:
        return self._device[0] != CUDA

    def to_dlpack(self) -> Any:
        if self._array.dtype == np.object_:
            raise TritonModelException("DLPack does not have support for string tensors.")
        return packed(self._array)

    def __dlpack__(self, stream: object = None) -> Any:
        return self.to_dlpack()

    def __dlpack_device__(self) -> tuple[int, int]:
        return self._device


class InferenceResponse:
    """The tensors of an answer, or its error."""

    def __init__(self, output_tensors: Sequence[Tensor] = (), error: TritonError | None = None) -> None:
        if not all(isinstance(tensor, Tensor) for tensor in output_tensors):
            raise TypeError("output_tensors must be Tensors")
        self._tensors, self._error = list(output_tensors), error

    def output_tensors(self) -> list[Tensor]:
        return self._tensors

    def has_error(self) -> bool:
        return self._error is not None

    def error(self) -> TritonError | None:
        return self._error


class InferenceRequest:
    """A request, as `execute` gets it and as a model makes one to call another (`exec`).

    `models`: what `exec` calls, by model name: a test fills it in. A function that raises answers with an error, as the real server does.
    """

    models: dict[str, Callable[[InferenceRequest], InferenceResponse]] = {}  # noqa: RUF012  # one registry for all requests is the point

    def __init__(
        self,
        request_id: str = "",
        correlation_id: int | str = 0,
        inputs: Sequence[Tensor] = (),
        requested_output_names: Sequence[str] = (),
        model_name: str = "",
        model_version: int = -1,
        flags: int = 0,
        timeout: int = 0,
        parameters: dict[str, object] | None = None,
    ) -> None:
        if not all(isinstance(tensor, Tensor) for tensor in inputs):
            raise TypeError("inputs must be Tensors")
        if not all(isinstance(value, str | int | bool) for value in (parameters or {}).values()):
            raise TypeError("Expected parameters values to be string, integer or bool")
        self._request_id, self._correlation_id, self._flags, self._timeout = request_id, correlation_id, flags, timeout
        self._inputs, self._outputs = list(inputs), list(requested_output_names)
        self._model_name, self._parameters = model_name, json.dumps(parameters or {})

    def request_id(self) -> str:
        return self._request_id

    def correlation_id(self) -> int | str:
        return self._correlation_id

    def flags(self) -> int:
        return self._flags

    def set_flags(self, flags: int) -> None:
        self._flags = flags

    def timeout(self) -> int:
        return self._timeout

    def inputs(self) -> list[Tensor]:
        return self._inputs

    def requested_output_names(self) -> list[str]:
        return self._outputs

    def parameters(self) -> str:
        """JSON, as the real one."""
        return self._parameters

    def is_cancelled(self) -> bool:
        return False

    def exec(self, decoupled: bool = False) -> InferenceResponse:
        """Calls the model of that name. Never raises: what goes wrong is the answer's error."""
        if self._model_name not in self.models:
            return InferenceResponse(error=TritonError(f"Failed for execute the inference request. Model '{self._model_name}' is not ready."))
        try:
            response = self.models[self._model_name](self)
        except Exception as error:
            return InferenceResponse(error=TritonError(str(error)))
        if response.has_error():
            return response
        return InferenceResponse([tensor for tensor in response.output_tensors() if tensor.name() in self._outputs])

    async def async_exec(self, decoupled: bool = False) -> InferenceResponse:
        return self.exec(decoupled)


class Metric:
    """A series of a metric family. What was done to it is in `calls`; `error`: what each operation fails with."""

    def __init__(self, labels: dict[str, str], buckets: Sequence[float] | None) -> None:
        self.labels, self.buckets = labels, buckets
        self.calls: list[tuple[str, float]] = []
        self.error: str | None = None

    def increment(self, value: float) -> None:
        self._call("increment", value)

    def set(self, value: float) -> None:
        self._call("set", value)

    def observe(self, value: float) -> None:
        self._call("observe", value)

    def _call(self, operation: str, value: float) -> None:
        if self.error:
            raise TritonModelException(self.error)
        self.calls.append((operation, value))


class MetricFamily:
    """A custom metric: keyword arguments, buckets for histograms and for them alone. `made`: every family, where a test can read it."""

    COUNTER, GAUGE, HISTOGRAM = "counter", "gauge", "histogram"
    made: list[MetricFamily] = []  # noqa: RUF012  # the real registry is global too

    def __init__(self, *, name: str, description: str, kind: str) -> None:
        self.name, self.description, self.kind = name, description, kind
        self.series: list[Metric] = []
        self.made.append(self)

    def Metric(self, labels: dict[str, str] | None = None, buckets: list[float] | None = None) -> Metric:
        if (buckets is not None) != (self.kind == self.HISTOGRAM):
            raise TritonModelException("Failed to create metric.")
        self.series.append(Metric(labels or {}, buckets))
        return self.series[-1]


class Logger:
    """Keeps what was logged in `lines`, as (level, message), where a test can read it."""

    lines: list[tuple[str, str]] = []  # noqa: RUF012  # the real logger is global too

    @classmethod
    def log_info(cls, message: str) -> None:
        cls.lines.append(("INFO", message))

    @classmethod
    def log_warn(cls, message: str) -> None:
        cls.lines.append(("WARNING", message))

    @classmethod
    def log_error(cls, message: str) -> None:
        cls.lines.append(("ERROR", message))

    @classmethod
    def log_verbose(cls, message: str) -> None:
        cls.lines.append(("VERBOSE", message))


def _by_name(tensors: Sequence[Tensor], name: str) -> Tensor | None:
    return next((tensor for tensor in tensors if tensor.name() == name), None)


def get_input_tensor_by_name(inference_request: InferenceRequest, name: str) -> Tensor | None:
    """The input of that name, or None."""
    return _by_name(inference_request.inputs(), name)


def get_output_tensor_by_name(inference_response: InferenceResponse, name: str) -> Tensor | None:
    """The output of that name, or None."""
    return _by_name(inference_response.output_tensors(), name)


def get_input_config_by_name(model_config: dict, name: str) -> dict | None:
    """The input of that name in a model's config, or None."""
    return next((entry for entry in model_config.get("input", []) if entry["name"] == name), None)


def get_output_config_by_name(model_config: dict, name: str) -> dict | None:
    """The output of that name in a model's config, or None."""
    return next((entry for entry in model_config.get("output", []) if entry["name"] == name), None)

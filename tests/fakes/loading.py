"""Loading `model.py` files as Triton does, with the fake backend utilities in place of the real ones."""

from __future__ import annotations

import importlib.util
import itertools
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

from google.protobuf import json_format, text_format
from tritonclient.grpc import model_config_pb2

from tests.fakes import triton_python_backend_utils

REPOSITORY = Path(__file__).resolve().parents[2]
MODELS = REPOSITORY / "model_repository"

_running: list[Any] = []  # models with threads of their own
_names = (f"masklet_test_model_{number}" for number in itertools.count())


@contextmanager
def backend_utils() -> Iterator[ModuleType]:
    """While open, `import triton_python_backend_utils` gives the fake; its registries and log begin empty. At the end the models that were `started`
    are finalized, and sys.path is put back."""
    path = sys.path.copy()
    triton_python_backend_utils.InferenceRequest.models.clear()
    triton_python_backend_utils.MetricFamily.made.clear()
    triton_python_backend_utils.Logger.lines.clear()
    sys.modules["triton_python_backend_utils"] = triton_python_backend_utils
    try:
        yield triton_python_backend_utils
    finally:
        while _running:
            _running.pop().finalize()
        del sys.modules["triton_python_backend_utils"]
        sys.path[:] = path


def load(file: Path) -> ModuleType:
    """Imports a model.py. Call inside `backend_utils()`."""
    spec = importlib.util.spec_from_file_location(next(_names), file)
    if spec is None or spec.loader is None:
        raise ImportError(f"no python module: {file}")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def started(module: ModuleType, given: dict[str, str]) -> Any:
    """The model of a loaded model.py, initialized as Triton does; `backend_utils` finalizes it."""
    model = module.TritonPythonModel()
    model.initialize(given)
    _running.append(model)
    return model


def config(model: str) -> model_config_pb2.ModelConfig:
    """The checked-in config.pbtxt of a model, parsed. Raises text_format.ParseError where Triton would refuse it."""
    return text_format.Parse((MODELS / model / "config.pbtxt").read_text(), model_config_pb2.ModelConfig())


def arguments(message: model_config_pb2.ModelConfig, folder: Path) -> dict[str, str]:
    """What Triton passes to `initialize`: the config as JSON with its own field names, and the model's folder."""
    fields = json_format.MessageToDict(message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True)
    for entry in (*fields["input"], *fields["output"]):
        entry["dims"] = [int(dim) for dim in entry["dims"]]  # protobuf writes 64-bit integers as text, Triton as numbers
    kind, device = instance(message)
    return {
        "model_config": json.dumps(fields),
        "model_instance_kind": kind,
        "model_instance_name": f"{message.name}_0_0",
        "model_instance_device_id": device,
        "model_repository": str(folder),
        "model_version": "1",
        "model_name": message.name,
    }


def instance(message: model_config_pb2.ModelConfig) -> tuple[str, str]:
    """Kind and device of a model's first instance, as Triton words them for `initialize`."""
    if not message.instance_group or message.instance_group[0].kind != model_config_pb2.ModelInstanceGroup.KIND_GPU:
        return "CPU", "0"
    return "GPU", str(message.instance_group[0].gpus[0])


def data_type(entry: model_config_pb2.ModelInput | model_config_pb2.ModelOutput) -> str:
    """The data type of a tensor in a config, by the name that the contract uses."""
    name = model_config_pb2.DataType.Name(entry.data_type).removeprefix("TYPE_")
    return "BYTES" if name == "STRING" else name

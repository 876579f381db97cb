"""A repository of models that compute nothing: what is left of a frame's time is Triton, its python processes, and copies.

It holds the tracker in its own shape, every tensor as large as in a tracked frame of one object, and chains of single hops:

    small, features        one number, a frame's features: in and out
    stateful               small, as the model of sequences that memory_bank is
    caller, features_caller   small; calls small, features as memory_bank calls engines that are models, CALLS times
    chain_small_1, chain_small_5, chain_features_0, chain_features_4   ensembles of so many such hops; those of features begin with one number
    three_caller, ensemble_caller   small; calls features three times, or once the ensemble of three that is chain_three
"""

from __future__ import annotations

import base64
import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tritonclient.grpc import model_config_pb2

from masklet import contract
from masklet.families import Variant
from masklet_build.repository.assemble import assemble
from masklet_build.repository.configs import read_config, write_config

MODEL = Path(__file__).parent / "null_model.py"
CALLS = 4
CALLED = 3  # engines, by the bank, for a tracked frame
FLOAT = model_config_pb2.DataType.Value("TYPE_FP32")
_ENVELOPE = 300  # bytes, about, of a frame without prompts
_FREE = {"B": 1, "n": 1}  # other sizes that differ from request to request are 0 in a tracked frame of one object

Config = model_config_pb2.ModelConfig
Shape = Sequence[int]


def null_repository(variant: Variant, engines: Path, out: Path, mask: bytes) -> Path:
    """Assembles the variant at `out` and empties its models; `mask`: what stands for the mask of the object. Returns `out`."""
    assemble(variant.name, engines, out)
    shutil.rmtree(out / "memory_bank" / "1" / "engines")
    for model in null_models(variant):
        if model is not contract.TRACKER and (out / model.name).exists():
            _empty(out / model.name, model, variant, mask)
    one, features = [1], [variant.hidden, variant.grid, variant.grid]
    for name, took, gave in (("small", one, one), ("features", features, features), ("widen", one, features), ("narrow", features, one)):
        _add(out, _hop(name, took, gave))
    stateful = _hop("stateful", one, one)
    stateful.ClearField("dynamic_batching")
    stateful.sequence_batching.oldest.max_candidate_sequences = 4
    stateful.sequence_batching.max_sequence_idle_microseconds = 3600 * 10**6  # others have their turn meanwhile
    _add(out, stateful)
    for name, called, shape, times in (
        ("caller", "small", one, CALLS),
        ("features_caller", "features", features, CALLS),
        ("three_caller", "features", features, CALLED),
        ("ensemble_caller", "chain_three", features, 1),
    ):
        _add(out, _hop(name, one, one), [[called, {"IN": ["float32", [1, *shape]]}, ["OUT"]]] * times)
    for name, steps in (
        ("small_1", ["small"]),
        (f"small_{1 + CALLS}", ["small"] * (1 + CALLS)),
        ("features_0", ["widen", "narrow"]),
        (f"features_{CALLS}", ["widen", *["features"] * CALLS, "narrow"]),
    ):
        _add_chain(out, f"chain_{name}", steps)
    _add_chain(out, "chain_three", ["features"] * CALLED, features)
    return out


def null_models(variant: Variant) -> list[contract.Model]:
    """What assembly makes: its image encoder is a python model."""
    return [contract.escorted(model) if model.name == "image_encoder" else model for model in contract.models(variant)]


def _empty(folder: Path, model: contract.Model, variant: Variant, mask: bytes) -> None:
    """Takes what a model computes out of it."""
    version, config = folder / "1", read_config(folder)
    (version / "engine.onnx").unlink(missing_ok=True)
    shapes = {tensor.name: _shape(model, tensor, variant) for tensor in model.outputs}
    values = {}
    if contract.ENVELOPE.name in shapes:
        shapes[contract.ENVELOPE.name] = [1, _ENVELOPE]
    if model is contract.POSTPROCESS:
        shapes["MASKS"] = [1, len(mask)]
        values = {"MASKS": _text(mask), "MASK_BYTES": _text(np.int64(len(mask)).tobytes())}
    _tell(config, shapes, values, [])
    write_config(folder, config)
    shutil.copyfile(MODEL, version / "model.py")


def _shape(model: contract.Model, tensor: contract.Tensor, variant: Variant) -> list[int]:
    """Shape of an output for a tracked frame of one object: no prompts, no logits."""
    free = {} if model.name == "preprocess" or tensor.name == "LOGITS" else _FREE
    dims = [dim if isinstance(dim, int) else free.get(dim, 0) for dim in contract.resolve(tensor.dims, variant)]
    return [1, *dims] if model.batched else dims


def _text(values: bytes) -> str:
    return base64.b64encode(values).decode()


def _hop(name: str, took: Shape, gave: Shape) -> Config:
    """One input and one output, served as postprocess is."""
    config = Config(name=name, backend="python", max_batch_size=8)
    config.input.add(name="IN", data_type=FLOAT, dims=took)
    config.output.add(name="OUT", data_type=FLOAT, dims=gave)
    config.dynamic_batching.preserve_ordering = True
    config.instance_group.add(kind=model_config_pb2.ModelInstanceGroup.KIND_CPU, count=1)
    return config


def _tell(config: Config, outputs: Mapping[str, Shape], values: Mapping[str, str], calls: Sequence[Any]) -> None:
    config.parameters["null"].string_value = json.dumps({"outputs": outputs, "values": values, "calls": calls})


def _add(out: Path, config: Config, calls: Sequence[Any] = ()) -> None:
    """Writes a hop."""
    folder = out / config.name
    (folder / "1").mkdir(parents=True)
    _tell(config, {"OUT": [1, *config.output[0].dims]}, {}, list(calls))
    write_config(folder, config)
    shutil.copyfile(MODEL, folder / "1" / "model.py")


def _add_chain(out: Path, name: str, steps: Sequence[str], shape: Shape = (1,)) -> None:
    """Writes an ensemble of hops that starts and ends with one number, or with a tensor of that shape."""
    config = Config(name=name, platform="ensemble", max_batch_size=8)
    config.input.add(name="IN", data_type=FLOAT, dims=shape)
    config.output.add(name="OUT", data_type=FLOAT, dims=shape)
    wires = ["IN", *(f"wire_{number}" for number in range(1, len(steps))), "OUT"]
    for model, before, after in zip(steps, wires[:-1], wires[1:], strict=True):
        step = config.ensemble_scheduling.step.add(model_name=model, model_version=-1)
        step.input_map["IN"], step.output_map["OUT"] = before, after
    (out / name / "1").mkdir(parents=True)
    write_config(out / name, config)

"""Triton configs as protobuf messages: read, completed with a variant's tensors, filled in, and written."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TypeAlias

from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

from masklet import contract
from masklet.families import Variant, state_bytes
from masklet_build.models.variants import served_name
from masklet_build.repository import settings as settings_table

Config: TypeAlias = model_config_pb2.ModelConfig
KIND_CPU, KIND_GPU = model_config_pb2.ModelInstanceGroup.KIND_CPU, model_config_pb2.ModelInstanceGroup.KIND_GPU


class AssembleError(Exception):
    """The repository cannot be assembled; the message says why and what to do."""


def read_config(folder: Path) -> Config:
    """The config of a model, given its folder."""
    return text_format.Parse((folder / "config.pbtxt").read_text(), model_config_pb2.ModelConfig())


def write_config(folder: Path, config: Config) -> None:
    """Puts a config into a model's folder."""
    text = text_format.MessageToString(config)
    if config.max_batch_size == 0:
        text += "max_batch_size: 0\n"  # a default that protobuf leaves out, and that Triton would complete to something else
    (folder / "config.pbtxt").write_text(text)


def complete(config: Config, model: contract.Model, variant: Variant) -> None:
    """Gives every tensor the variant's sizes; adds the tensors that a policy-only config leaves out."""
    for tensors, entries in ((model.inputs, config.input), (model.outputs, config.output)):
        known = {entry.name: entry for entry in entries}
        for tensor in tensors:
            entry = known.get(tensor.name) or entries.add(name=tensor.name)
            if entries is config.input and model.batched and tensor.name not in known:
                entry.allow_ragged_batch = any(isinstance(dim, str) for dim in contract.resolve(tensor.dims, variant))
            entry.data_type = model_config_pb2.DataType.Value(f"TYPE_{'STRING' if tensor.dtype == 'BYTES' else tensor.dtype}")
            entry.dims[:] = [dim if isinstance(dim, int) else -1 for dim in contract.resolve(tensor.dims, variant)]


def wire(tracker: Config, variant: Variant, *, through_encoder: bool) -> None:
    """Hands to memory_bank what the stages before it give in some families only: high-resolution maps, logits of soft masks.

    through_encoder: image_encoder is a python model, and the envelope goes through it.
    """
    steps = {step.model_name: step for step in tracker.ensemble_scheduling.step}
    if through_encoder:
        steps["image_encoder"].input_map["ENVELOPE"] = "envelope"
        steps["image_encoder"].output_map["ENVELOPE"] = steps["memory_bank"].input_map["ENVELOPE"] = "encoded"
    for model in (contract.preprocess(variant), contract.image_encoder(variant)):
        for name in {tensor.name for tensor in model.outputs} - set(steps[model.name].output_map):
            steps[model.name].output_map[name] = name.lower()
            steps["memory_bank"].input_map[name] = name.lower()


def fill(config: Config, variant: Variant, checkpoint_sha256: str, precision: str, postprocess: str) -> None:
    """Sets what only assembly knows, in the configs that ask for it."""
    known = {
        "variant": served_name(variant),
        "image_size": str(variant.image_size),
        "contract_version": str(contract.CONTRACT_VERSION),
        "checkpoint_sha256": checkpoint_sha256,
        "precision": precision,
        "postprocess": postprocess,
    }
    if "max_engine_batch" in config.parameters:
        limit = int(config.parameters["max_engine_batch"].string_value)
        config.parameters["max_engine_batch"].string_value = str(min(limit, variant.max_objects))
    for key in set(known) & set(config.parameters):
        config.parameters[key].string_value = known[key]


def override(config: Config, settings: Mapping[str, str]) -> None:
    """Sets the parameters of this model that `settings` ("model.parameter" -> value) names. Raises AssembleError."""
    for name, value in settings.items():
        model, _, key = name.partition(".")
        if model != config.name:
            continue
        if key not in config.parameters:
            raise AssembleError(f"{model} has no parameter {key!r}. It has: {', '.join(sorted(config.parameters)) or 'none'}.")
        try:
            settings_table.check(key, value)
        except settings_table.SettingError as error:
            raise AssembleError(f"--set {name}: {error}") from error
        config.parameters[key].string_value = value


def check_settings(settings: Mapping[str, str], models: Iterable[str]) -> None:
    """Raises AssembleError where a setting names none of `models`."""
    known = sorted(models)
    for name in settings:
        if name.partition(".")[0] not in known:
            raise AssembleError(f"--set {name}: no such model. Models: {', '.join(known)}. Write it as MODEL.PARAMETER=VALUE.")


def limit_states(configs: Mapping[str, Config], variant: Variant) -> None:
    """Where preprocess's max_state_bytes is 0, the size of the largest snapshot that memory_bank gives by its limits."""
    limit, bank = configs["preprocess"].parameters["max_state_bytes"], configs["memory_bank"].parameters
    if int(limit.string_value) == 0:
        objects, conditioning, points = (int(bank[name].string_value) for name in ("max_objects", "max_conditioning", "max_points"))
        limit.string_value = str(state_bytes(variant, objects, conditioning, points))


_PATIENCE_S = 600.0


def set_sequences(configs: Mapping[str, Config]) -> None:
    """Fits the places and the patience of Triton's sequence batchers to the limits of memory_bank.

    More places than videos, since a video without a place waits for ever. Far more patience than the model's own, the same at every stage: Triton
    counts from the arrival of a frame at a stage, so that a server which takes minutes for a frame would lose live videos; the model counts from its
    answer, and answers for a video that it forgot.
    """
    bank = configs["memory_bank"].parameters
    videos, idle_seconds = int(bank["max_videos"].string_value), float(bank["idle_seconds"].string_value)
    for config in configs.values():
        if config.HasField("sequence_batching"):
            batching = config.sequence_batching
            batching.oldest.max_candidate_sequences = max(4 * videos, batching.oldest.max_candidate_sequences)
            batching.max_sequence_idle_microseconds = int(1e6 * max(_PATIENCE_S, 4 * idle_seconds))

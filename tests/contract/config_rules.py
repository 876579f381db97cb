"""What every set of Triton configs must keep. Each rule gives the breaches that it finds, as sentences."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from masklet import contract
from masklet.families import Variant
from masklet_build.repository.assemble import IMAGE_TARGETS
from masklet_build.repository.configs import KIND_CPU, KIND_GPU
from tests.fakes.loading import data_type

Configs = Mapping[str, Any]  # name -> ModelConfig

BEFORE_THE_BANK = ("preprocess", "image_encoder")
BANK_ENGINES = ("mask_prompt", "memory_attention", "mask_decoder", "memory_encoder")
TEXTS = ("FRAME_ENCODED", "PROMPTS")  # what a client sends may be BYTES
PLACES = 16384  # at least; and four times max_videos
PATIENCE_S = 600  # at least; and four times idle_seconds


def breaches(configs: Configs, variant: Variant, *, assembled: bool, target: str = "separate") -> list[str]:
    """All breaches. Committed configs leave to assembly what differs between variants: sizes, and the tensors of engines.

    Where memory_bank's engines run in its own process, they are no models.
    """
    models = {model.name: model for model in contract.models(variant) if target != "embedded" or model.name not in BANK_ENGINES}
    if assembled and target not in IMAGE_TARGETS:  # the encoder is a python model there
        models["image_encoder"] = contract.escorted(models["image_encoder"])
    if set(configs) != set(models):
        return [f"models {sorted(configs)} instead of {sorted(models)}"]
    found = [breach for name, config in configs.items() for breach in _tensors(config, models[name], variant, assembled)]
    return [*found, *_texts(configs), *_ordering(configs), *_sequences(configs), *_bank(configs["memory_bank"], target), *_wires(configs, models)]


def _tensors(config: Any, model: contract.Model, variant: Variant, assembled: bool) -> Iterator[str]:
    if (config.max_batch_size > 0) != model.batched:
        yield f"{model.name} has max_batch_size {config.max_batch_size}"
    for entries, tensors in ((config.input, model.inputs), (config.output, model.outputs)):
        if not assembled and not entries:
            continue  # policy only
        if sorted(entry.name for entry in entries) != sorted(tensor.name for tensor in tensors):
            yield f"{model.name} has the tensors {[entry.name for entry in entries]}, not {[tensor.name for tensor in tensors]}"
            continue
        known = {entry.name: entry for entry in entries}
        for tensor in tensors:
            yield from _tensor(f"{model.name}.{tensor.name}", known[tensor.name], tensor, variant, assembled)
    yield from _ragged(config, model, variant)


def _tensor(place: str, entry: Any, tensor: contract.Tensor, variant: Variant, assembled: bool) -> Iterator[str]:
    dims = contract.resolve(tensor.dims, variant) if assembled else tensor.dims
    wanted = [dim if isinstance(dim, int) else -1 for dim in dims]
    if data_type(entry) != tensor.dtype:
        yield f"{place} is {data_type(entry)}, not {tensor.dtype}"
    if list(entry.dims) != wanted:
        yield f"{place} has dims {list(entry.dims)}, not {wanted}"
    if getattr(entry, "optional", False) != tensor.optional:
        yield f"{place} is {'' if tensor.optional else 'not '}optional in the contract only"


def _ragged(config: Any, model: contract.Model, variant: Variant) -> Iterator[str]:
    """Without this, requests of different sizes do not share a batch. An ensemble batches nothing itself."""
    if not model.batched or config.platform == "ensemble":
        return
    flags = {entry.name: entry.allow_ragged_batch for entry in config.input}
    for tensor in model.inputs:
        varies = any(isinstance(dim, str) for dim in contract.resolve(tensor.dims, variant))
        if varies and not flags.get(tensor.name):
            yield f"{model.name}.{tensor.name} varies, but has no allow_ragged_batch"


def _texts(configs: Configs) -> Iterator[str]:
    """Cut-off contents of a tensor of BYTES fail a whole batch of Triton 2.51, and classes of such an output end it."""
    for name, config in configs.items():
        for entry in config.input:
            if data_type(entry) == "BYTES" and (name not in ("tracker", "preprocess") or entry.name not in TEXTS):
                yield f"{name}.{entry.name} is an input of BYTES: contents that are cut off fail the requests of others"
            if data_type(entry) == "BYTES" and config.max_batch_size != 1:
                yield f"{name}.{entry.name} is BYTES, and requests share a batch: contents that are cut off fail all of it"
        for entry in config.output:
            if data_type(entry) == "BYTES":
                yield f"{name}.{entry.name} is an output of BYTES: who asks for its classes ends the server"


def _ordering(configs: Configs) -> Iterator[str]:
    if not configs["postprocess"].dynamic_batching.preserve_ordering:
        yield "postprocess may answer frames of a video in the wrong order: it has no preserve_ordering"
    for name in BEFORE_THE_BANK:
        if not configs[name].sequence_batching.HasField("oldest"):
            yield f"{name} takes frames of a video out of order, or a flood of them before those of others: it does not batch by sequence"


def _sequences(configs: Configs) -> Iterator[str]:
    bank = {key: value.string_value for key, value in configs["memory_bank"].parameters.items()}
    idle = {name: configs[name].sequence_batching.max_sequence_idle_microseconds for name in (*BEFORE_THE_BANK, "memory_bank")}
    for name in idle:
        batching = configs[name].sequence_batching
        places = batching.oldest.max_candidate_sequences
        if places < max(PLACES, 4 * int(bank["max_videos"])):
            yield f"{name} has {places} places for {bank['max_videos']} videos: further ones wait without an answer"
        if batching.control_input:
            yield f"{name} has control inputs, which are not in the contract"
        if idle[name] < 1e6 * max(PATIENCE_S, 4 * float(bank["idle_seconds"])):
            yield f"Triton may end a video at {name} that memory_bank would go on with"
        if idle[name] != idle["memory_bank"]:
            yield f"{name} is not as patient as memory_bank"


def _bank(config: Any, target: str) -> Iterator[str]:
    kind = KIND_GPU if target == "tensorrt" else KIND_CPU
    if [(group.count, group.kind) for group in config.instance_group] != [(1, kind)]:
        yield "memory_bank must be one instance, where its engines are: a video lives in one process"


def _wires(configs: Configs, models: Mapping[str, contract.Model]) -> Iterator[str]:
    """The ensemble: every wire has one source and fits where it ends."""
    tracker = configs["tracker"]
    inputs, outputs = {tensor.name for tensor in contract.TRACKER.inputs}, {tensor.name for tensor in contract.TRACKER.outputs}
    sources = {tensor.name: tensor for tensor in contract.TRACKER.inputs}
    produced: Counter[str] = Counter()
    for step in tracker.ensemble_scheduling.step:
        model = models[step.model_name]
        known = {tensor.name: tensor for tensor in model.outputs}
        if set(step.output_map) != set(known):
            yield f"step {model.name} maps the outputs {sorted(step.output_map)}, not {sorted(known)}"
        produced.update(step.output_map.values())
        sources.update({wire: known[name] for name, wire in step.output_map.items() if name in known})
    twice = sorted({wire for wire, count in produced.items() if count > 1} | (inputs & set(produced)) | (inputs & outputs))
    yield from (f"the name {wire} stands for two tensors" for wire in twice)
    yield from (f"nobody gives the output {name}" for name in sorted(outputs - set(produced)))
    used = {wire for step in tracker.ensemble_scheduling.step for wire in step.input_map.values()}
    yield from (f"nobody takes {wire}" for wire in sorted((inputs | set(produced)) - used - outputs))
    for step in tracker.ensemble_scheduling.step:
        yield from _fed(step, models[step.model_name], sources)


def _fed(step: Any, model: contract.Model, sources: Mapping[str, contract.Tensor]) -> Iterator[str]:
    needed = {tensor.name: tensor for tensor in model.inputs}
    if set(step.input_map) != set(needed):
        yield f"step {model.name} feeds the inputs {sorted(step.input_map)}, not {sorted(needed)}"
    for name in set(step.input_map) & set(needed):
        source = sources.get(step.input_map[name])
        if source is None:
            yield f"{model.name}.{name} is fed by {step.input_map[name]}, which nobody gives"
        elif (source.name, source.dtype, source.dims) != (name, needed[name].dtype, needed[name].dims):
            yield f"{model.name}.{name} is fed by {source.name}, which is {source.dtype} {source.dims}"

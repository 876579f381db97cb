"""Puts a Triton model repository together: the committed models, a variant's engines, and the modules that both need.

    OUT/tracker preprocess memory_bank postprocess        from model_repository/, with the masklet modules they import beside them
    OUT/image_encoder                                     policy from model_repository/, tensors from masklet.contract, engine from `export`
    OUT/mask_prompt ... memory_encoder                    the same; target embedded: engines in OUT/memory_bank/1/engines instead

Configs are edited as protobuf messages, never as text, so what is written is what Triton reads. Comments are lost on the way: model_repository/ is
for people, the result for machines.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path

from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

from masklet import contract, families
from masklet_build.manifest import FILE_NAME, WEIGHTS, Manifest, file_sha256
from masklet_build.output import fresh_directory

SOURCE = Path(__file__).parent / "model_repository"
EMBEDDED = Path(__file__).parent / "embedded"

TARGETS = ("embedded", "separate", "onnxruntime")
RUNTIMES = ("openvino", "onnxruntime")
PRECISIONS = ("fp32", "bf16")

# What the python models import of masklet; they import nothing else of it.
VENDORED = ("contract", "families", "errors", "wire", "rle")


class AssembleError(Exception):
    """The repository cannot be assembled; the message says why and what to do."""


def assemble(
    variant_name: str,
    engines: Path,
    out: Path,
    *,
    target: str = "embedded",
    runtime: str = "openvino",
    precision: str = "fp32",
    threads: int = 0,
    settings: Mapping[str, str] | None = None,
    force: bool = False,
) -> Path:
    """Writes a model repository to `out`, whole or not at all.

    engines     directory that `masklet-build export` wrote
    target      "embedded": for Triton from the PyPI wheel, which has the python backend only: engines run in the processes of image_encoder and
                memory_bank; "separate": the same, but every engine is a model of its own, as with "onnxruntime": Triton's own backend, which
                NVIDIA's image has
    runtime     of the targets embedded and separate: "openvino" or "onnxruntime"
    precision   "fp32", or "bf16" on OpenVINO
    threads     CPU threads per engine; 0: all cores
    settings    "model.parameter" -> value: limits and other parameters of the configs
    Raises AssembleError.
    """
    variant = families.variant(variant_name)
    manifest = _manifest(engines, variant)
    if precision == "bf16" and (target == "onnxruntime" or runtime != "openvino"):
        raise AssembleError("bf16 needs OpenVINO. Leave out --precision, or use --target embedded --runtime openvino.")
    with fresh_directory(out, mark="tracker/config.pbtxt", force=force) as draft:
        shutil.copytree(SOURCE, draft, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__", "*.md"))
        for name in ("preprocess", "memory_bank", "postprocess"):
            _vendor(draft / name / "1" / "masklet")
        (draft / "tracker" / "1").mkdir(exist_ok=True)
        shutil.copyfile(engines / FILE_NAME, draft / "memory_bank" / FILE_NAME)
        models = _place_engines(draft, engines, variant, target)
        configs = {model.name: read_config(draft / model.name) for model in models}
        for model in models:
            config = configs[model.name]
            _complete(config, model, variant)
            if model.name == "image_encoder":
                config.max_batch_size = min(config.max_batch_size, variant.trunk.max_images)
            _set_backend(config, model, variant, target, {"runtime": runtime, "precision": precision, "threads": str(threads)})
            _fill(config, variant, manifest, precision)
            _override(config, settings or {})
        _wire(configs["tracker"], variant)
        _set_sequences(configs)
        for name, config in configs.items():
            write_config(draft / name, config)
        _check_settings(settings or {})
    return out


def _manifest(engines: Path, variant: families.Variant) -> Manifest:
    try:
        manifest = Manifest.read(engines)
    except FileNotFoundError as error:
        raise AssembleError(f"{engines} has no {FILE_NAME}, so it holds no engines. Make them with: masklet-build export") from error
    except (TypeError, ValueError) as error:
        raise AssembleError(f"{engines / FILE_NAME} cannot be read: {error}. Export again.") from error
    if manifest.variant != variant.name:
        raise AssembleError(f"{engines} holds engines of {manifest.variant}, not {variant.name}. Name that variant, or export {variant.name}.")
    if manifest.contract_version != contract.CONTRACT_VERSION:
        raise AssembleError(
            f"{engines} was exported for contract {manifest.contract_version}; this masklet-build has {contract.CONTRACT_VERSION}. Export again."
        )
    if {manifest.precision, manifest.attention} != {"fp32"}:
        raise AssembleError(
            f"{engines} holds engines in {manifest.precision} (attention {manifest.attention}), which are for TensorRT: make plans of them with "
            "`masklet-build engine`. For other targets export in fp32; with --precision bf16 OpenVINO computes those in bf16."
        )
    for name, expected in manifest.files.items():
        if not (engines / name).is_file() or file_sha256(engines / name) != expected:
            raise AssembleError(f"{engines / name} is missing or not the file that was exported. Export again.")
    return manifest


def _vendor(folder: Path) -> None:
    folder.mkdir()
    (folder / "__init__.py").write_text('"""The modules of masklet that this model needs, vendored at assembly."""\n')
    spec = find_spec("masklet")
    assert spec is not None
    assert spec.origin is not None
    for name in VENDORED:
        source = Path(spec.origin).parent / name
        if source.is_dir():
            shutil.copytree(source, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copyfile(source.with_suffix(".py"), folder / f"{name}.py")


def _place_engines(draft: Path, engines: Path, variant: families.Variant, target: str) -> list[contract.Model]:
    """Puts every engine where the target runs it; returns the models that the repository then has."""
    inside = [model for model in contract.engines(variant) if target == "embedded" and not model.batched]  # in memory_bank's process
    for model in contract.engines(variant):
        file = engines / f"{model.name}.onnx"
        if model in inside:
            shutil.rmtree(draft / model.name)
            _copy_engine(file, draft / "memory_bank" / "1" / "engines" / file.name)
        elif target == "onnxruntime":
            _copy_engine(file, draft / model.name / "1" / "model.onnx")
        else:
            _copy_engine(file, draft / model.name / "1" / "engine.onnx")
            _copy(EMBEDDED / "model.py", draft / model.name / "1" / "model.py")
            _vendor_runtime(draft / model.name / "1")
    if inside:
        _vendor_runtime(draft / "memory_bank" / "1")
    return [model for model in contract.models(variant) if model not in inside]


def _vendor_runtime(version: Path) -> None:
    """Lays what runs engines beside a model, under the name by which it is imported."""
    for name in ("__init__.py", *(f"embedded/{module}.py" for module in ("__init__", "engine", "runners", "shares"))):
        _copy(EMBEDDED.parent / name, version / "masklet_build" / name)


def _copy_engine(file: Path, to: Path) -> None:
    """An ONNX file, and its weights where they lie in a second one: the graph refers to them by the name that they have."""
    _copy(file, to)
    weights = file.with_name(file.name + WEIGHTS)
    if weights.exists():
        _copy(weights, to.with_name(weights.name))


def _copy(file: Path, to: Path) -> None:
    to.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(file, to)


def read_config(folder: Path) -> model_config_pb2.ModelConfig:
    """The config of a model, given its folder."""
    return text_format.Parse((folder / "config.pbtxt").read_text(), model_config_pb2.ModelConfig())


def write_config(folder: Path, config: model_config_pb2.ModelConfig) -> None:
    """Puts a config into a model's folder."""
    text = text_format.MessageToString(config)
    if config.max_batch_size == 0:
        text += "max_batch_size: 0\n"  # a default that protobuf leaves out, and that Triton would complete to something else
    (folder / "config.pbtxt").write_text(text)


def _complete(config: model_config_pb2.ModelConfig, model: contract.Model, variant: families.Variant) -> None:
    """Gives every tensor the variant's sizes; adds the tensors that a policy-only config leaves out."""
    for tensors, entries in ((model.inputs, config.input), (model.outputs, config.output)):
        known = {entry.name: entry for entry in entries}
        for tensor in tensors:
            entry = known.get(tensor.name) or entries.add(name=tensor.name)
            if entries is config.input and model.batched and tensor.name not in known:
                entry.allow_ragged_batch = any(isinstance(dim, str) for dim in contract.resolve(tensor.dims, variant))
            entry.data_type = model_config_pb2.DataType.Value(f"TYPE_{'STRING' if tensor.dtype == 'BYTES' else tensor.dtype}")
            entry.dims[:] = [dim if isinstance(dim, int) else -1 for dim in contract.resolve(tensor.dims, variant)]


def _wire(tracker: model_config_pb2.ModelConfig, variant: families.Variant) -> None:
    """Hands to memory_bank what the stages before it give in some families only: high-resolution maps, logits of soft masks."""
    steps = {step.model_name: step for step in tracker.ensemble_scheduling.step}
    for model in (contract.preprocess(variant), contract.image_encoder(variant)):
        for name in {tensor.name for tensor in model.outputs} - set(steps[model.name].output_map):
            steps[model.name].output_map[name] = name.lower()
            steps["memory_bank"].input_map[name] = name.lower()


def _set_backend(
    config: model_config_pb2.ModelConfig, model: contract.Model, variant: families.Variant, target: str, parameters: Mapping[str, str]
) -> None:
    """Says what runs a model's engines: a backend of Triton, or parameters of the python model."""
    if model in contract.engines(variant):
        if target == "onnxruntime":
            config.backend = "onnxruntime"
            config.default_model_filename = "model.onnx"
            return
        config.backend = "python"
        config.instance_group.add(kind=model_config_pb2.ModelInstanceGroup.KIND_CPU, count=1)
    elif model.name != "memory_bank" or target != "embedded":
        return
    for key, value in parameters.items():
        config.parameters[key].string_value = value


def _fill(config: model_config_pb2.ModelConfig, variant: families.Variant, manifest: Manifest, precision: str) -> None:
    """Sets what only assembly knows, in the configs that ask for it."""
    known = {
        "variant": variant.name,
        "contract_version": str(contract.CONTRACT_VERSION),
        "checkpoint_sha256": manifest.checkpoint["sha256"],
        "precision": precision,
    }
    if "max_engine_batch" in config.parameters:
        limit = int(config.parameters["max_engine_batch"].string_value)
        config.parameters["max_engine_batch"].string_value = str(min(limit, variant.max_objects))
    for key in set(known) & set(config.parameters):
        config.parameters[key].string_value = known[key]


def _override(config: model_config_pb2.ModelConfig, settings: Mapping[str, str]) -> None:
    for name, value in settings.items():
        model, _, key = name.partition(".")
        if model != config.name:
            continue
        if key not in config.parameters:
            raise AssembleError(f"{model} has no parameter {key!r}. It has: {', '.join(sorted(config.parameters)) or 'none'}.")
        config.parameters[key].string_value = value


def _set_sequences(configs: Mapping[str, model_config_pb2.ModelConfig]) -> None:
    """Fits the places and the patience of Triton's sequence batchers to the limits of memory_bank.

    More places than videos, since a video without a place waits for ever. At memory_bank less patience than the model's own, so that the model
    forgets last; at the stages before it more, so that they refuse nothing that memory_bank would take.
    """
    bank = configs["memory_bank"].parameters
    videos, idle_seconds = int(bank["max_videos"].string_value), float(bank["idle_seconds"].string_value)
    for name, config in configs.items():
        if config.HasField("sequence_batching"):
            batching = config.sequence_batching
            batching.oldest.max_candidate_sequences = max(4 * videos, batching.oldest.max_candidate_sequences)
            batching.max_sequence_idle_microseconds = int(1e6 * idle_seconds * (0.8 if name == "memory_bank" else 1))


def _check_settings(settings: Mapping[str, str]) -> None:
    known = {path.parent.name for path in _source_configs()}
    for name in settings:
        if name.partition(".")[0] not in known:
            raise AssembleError(f"--set {name}: no such model. Models: {', '.join(sorted(known))}. Write it as MODEL.PARAMETER=VALUE.")


def _source_configs() -> Iterator[Path]:
    yield from SOURCE.glob("*/config.pbtxt")

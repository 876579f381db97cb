"""Puts a Triton model repository together: the committed models, a variant's engines, and the modules that both need.

    OUT/tracker preprocess memory_bank postprocess        from model_repository/, with the masklet modules they import beside them
    OUT/image_encoder                                     policy from model_repository/, tensors from masklet.contract, engine from `export`
    OUT/mask_prompt ... memory_encoder                    the same; target embedded: engines in OUT/memory_bank/1/engines instead
    OUT/memory_bank/manifest.json                         what the engines are; of plans plans.json, and selftest.json once there is one

Configs are edited as protobuf messages, never as text, so what is written is what Triton reads. Comments are lost on the way: model_repository/ is
for people, the result for machines.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path

from masklet import contract, families
from masklet_build.common import fresh_directory
from masklet_build.engines.plans import RTX, TENSORRT, Plans
from masklet_build.manifest import FILE_NAME
from masklet_build.models import variants
from masklet_build.models.variants import trunk_of
from masklet_build.repository import kinds, runtimes, tensorrt
from masklet_build.repository.configs import (
    KIND_CPU,
    AssembleError,
    Config,
    check_settings,
    complete,
    fill,
    limit_states,
    override,
    read_config,
    set_sequences,
    wire,
    write_config,
)
from masklet_build.repository.runtimes import DEVICES, EMBEDDED, PRECISIONS, RUNTIMES

__all__ = ["DEVICES", "IMAGE_TARGETS", "PRECISIONS", "RUNTIMES", "TARGETS", "VENDORED", "AssembleError", "assemble", "read_config", "write_config"]

SOURCE = Path(__file__).parents[1] / "model_repository"

TARGETS = ("embedded", "separate", "onnxruntime", "tensorrt")
IMAGE_TARGETS = ("onnxruntime", "tensorrt")  # Triton's own backends, which NVIDIA's image has

# What the python models import of masklet; they import nothing else of it.
VENDORED = ("contract", "envelope", "errors", "families", "heap", "mask_bytes", "rle", "stage", "wire")


def assemble(
    variant_name: str,
    engines: Path,
    out: Path,
    *,
    target: str = "embedded",
    runtime: str = "openvino",
    precision: str | None = None,
    device: str = "auto",
    threads: int = 0,
    postprocess: str = contract.POSTPROCESSING[0],
    settings: Mapping[str, str] | None = None,
    force: bool = False,
) -> Path:
    """Writes a model repository to `out`, whole or not at all.

    engines     directory that `masklet-build export` wrote; for target tensorrt and runtime tensorrt-rtx the one that `masklet-build engine` wrote
    target      "embedded": for Triton from the PyPI wheel, which has the python backend only: engines run in the processes of image_encoder and
                memory_bank; "separate": the same, but every engine is a model of its own, as with "onnxruntime" and "tensorrt": Triton's own
                backends, which NVIDIA's image has
    runtime     of the targets embedded and separate: "openvino", "onnxruntime", "torch", which runs programs (`export --for torch`), or
                "tensorrt-rtx", which runs plans (`engine --rtx`)
    precision   "fp32", or "bf16" on OpenVINO; plans and programs have the precision that they were exported in. None: that, else fp32
    device      that programs and plans of TensorRT for RTX run on: "cuda", "cuda:1", or "auto" for CUDA where there is one; programs also on "cpu"
    threads     CPU threads per engine; 0: all cores
    postprocess "none", or "official-cuda": small holes in masks are filled, as official code does where it has CUDA (`families.Cleaning`)
    settings    "model.parameter" -> value: limits and other parameters of the configs
    Raises AssembleError.
    """
    variant = variants.variant(variant_name)
    runtime = target if target in IMAGE_TARGETS else runtime
    made = kinds.read(engines, variant, runtime)
    plans = made if isinstance(made, Plans) else None
    precision = runtimes.checked_precision(engines, made, runtime, precision)
    parameters = {"runtime": runtime, "precision": precision, "threads": str(threads)} | runtimes.checked_device(runtime, device)
    with fresh_directory(out, mark="tracker/config.pbtxt", force=force) as draft:
        models, encodes_in_python = _place_models(draft, engines, variant, target, runtime)
        configs = {model.name: read_config(draft / model.name) for model in models}
        for model in models:
            config = configs[model.name]
            complete(config, model, variant)
            if model.name == "image_encoder":
                config.max_batch_size = min(config.max_batch_size, trunk_of(variant).max_images)
            _set_backend(config, model, variant, target, parameters)
            fill(config, variant, made.checkpoint["sha256"], precision, postprocess)
        if plans:
            _fit_plans(configs, variant, plans, target)
        for config in configs.values():
            override(config, settings or {})
        if plans:
            tensorrt.check_bank(configs["memory_bank"], variant, plans)
        wire(configs["tracker"], variant, through_encoder=encodes_in_python)
        set_sequences(configs)
        limit_states(configs, variant)
        for name, config in configs.items():
            write_config(draft / name, config)
        check_settings(settings or {}, (path.parent.name for path in SOURCE.glob("*/config.pbtxt")))
    return out


def _place_models(draft: Path, engines: Path, variant: families.Variant, target: str, runtime: str) -> tuple[list[contract.Model], bool]:
    """Puts all models with their engines into the repository; gives them, and whether image_encoder is a python model."""
    shutil.copytree(SOURCE, draft, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__", "*.md"))
    (draft / "tracker" / "1").mkdir(exist_ok=True)
    models = _place_engines(draft, engines, variant, target, runtime)
    in_python = [model.name for model in models if (draft / model.name / "1" / "model.py").exists()]
    for name in in_python:
        _vendor(draft / name / "1" / "masklet")
    encodes = "image_encoder" in in_python
    return [contract.escorted(model) if encodes and model.name == "image_encoder" else model for model in models], encodes


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


def _place_engines(draft: Path, engines: Path, variant: families.Variant, target: str, runtime: str) -> list[contract.Model]:
    """Puts every engine where the target runs it; returns the models that the repository then has."""
    inside = [model for model in contract.engines(variant) if target == "embedded" and not model.batched]  # in memory_bank's process
    for record in tensorrt.RECORDS if runtime in (TENSORRT, RTX) else (FILE_NAME,):
        if (engines / record).exists():
            shutil.copyfile(engines / record, draft / "memory_bank" / record)
    for model in contract.engines(variant):
        if target == "tensorrt":
            runtimes.copy(engines / f"{model.name}.plan", draft / model.name / "1" / "model.plan")
        elif model in inside:
            shutil.rmtree(draft / model.name)
            runtimes.copy_engine(engines, model.name, draft / "memory_bank" / "1" / "engines", model.name)
        elif target == "onnxruntime":
            runtimes.copy_engine(engines, model.name, draft / model.name / "1", "model")
        else:
            runtimes.copy_engine(engines, model.name, draft / model.name / "1", "engine")
            runtimes.copy(EMBEDDED / "model.py", draft / model.name / "1" / "model.py")
            runtimes.vendor(draft / model.name / "1", runtime)
    if inside:
        runtimes.vendor(draft / "memory_bank" / "1", runtime)
    return [model for model in contract.models(variant) if model not in inside]


def _set_backend(config: Config, model: contract.Model, variant: families.Variant, target: str, parameters: Mapping[str, str]) -> None:
    """Says what runs a model's engines: a backend of Triton, or parameters of the python model."""
    if target == "tensorrt":
        return  # plans have more to say (_fit_plans)
    if model.name in {engine.name for engine in contract.engines(variant)}:
        if target == "onnxruntime":
            config.backend = "onnxruntime"
            config.default_model_filename = "model.onnx"
            return
        config.backend = "python"
        config.instance_group.add(kind=KIND_CPU, count=1)
    elif model.name != "memory_bank" or target != "embedded":
        return
    for key, value in parameters.items():
        config.parameters[key].string_value = value


def _fit_plans(configs: Mapping[str, Config], variant: families.Variant, plans: Plans, target: str) -> None:
    """Batches and limits within those of the plans. Of target tensorrt engines and memory_bank go to the GPU; preprocess and postprocess stay on
    CPUs."""
    if target == "tensorrt":
        for model in contract.engines(variant):
            tensorrt.set_engine(configs[model.name], model, variant, plans.engines[model.name])
        tensorrt.set_bank(configs["memory_bank"])
    tensorrt.set_limits(configs, variant, plans)

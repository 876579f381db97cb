"""One engine: from a graph, its profiles and settings to a plan, by one way for TensorRT 10.13 and later, and 11.

It uses nothing that a version in that range lacks: no precision flags (the graph has the types), no numbers of flags, no implicit batch.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from masklet.contract import Model
from masklet.families import Variant
from masklet_build.engines.network import parse, sizes
from masklet_build.engines.plans import BuildError, Layers, Settings
from masklet_build.export.profiles import Profile

if TYPE_CHECKING:
    import tensorrt as trt

    from masklet_build.engines.callbacks import Log, Progress

_TOLD = 5  # of TensorRT's errors, the last; they follow from one another, and the log has all


@dataclass(frozen=True)
class Built:
    """What came of one build.

    plan            the serialised engine
    timings         the timing cache, with what was measured for this engine
    layers_json     the inspector's list of layers
    device_memory   bytes per profile
    """

    plan: bytes
    timings: bytes
    layers_json: str
    layers: Layers
    device_memory: tuple[int, ...]
    warnings: tuple[str, ...]
    seconds: float


def build(model: Model, variant: Variant, onnx: Path, table: Sequence[Profile], settings: Settings, timings: bytes, log_file: Path) -> Built:
    """Builds one engine on the GPU of this process.

    onnx        the file <engine>.onnx
    timings     a timing cache made by the same TensorRT on the same GPU, or nothing
    log_file    gets every line that TensorRT says
    Raises BuildError; KeyboardInterrupt when Ctrl-C stopped it.
    """
    import tensorrt as trt

    from masklet_build.engines.callbacks import Log, Progress

    began = time.monotonic()
    with log_file.open("w", encoding="utf-8") as file:
        log = Log(file)
        builder = trt.Builder(log)
        network, parser = parse(builder, log, onnx, model, variant)
        progress = Progress(model.name)
        try:
            config = configure(builder, network, table, settings, timings, progress)
            plan = _serialise(builder, network, config, log, progress, log_file)
        finally:
            progress.close()
        del parser  # it held the network's weights
        timings = bytes(config.get_timing_cache().serialize())
        layers_json, device_memory = _inspect(plan, len(table), log)
    warnings = tuple(log.warnings)
    return Built(plan, timings, layers_json, Layers.counted(layers_json), device_memory, warnings, time.monotonic() - began)


def configure(
    builder: trt.Builder, network: trt.INetworkDefinition, table: Sequence[Profile], settings: Settings, timings: bytes, progress: Progress
) -> trt.IBuilderConfig:
    """The builder's configuration. Raises BuildError for a profile that TensorRT does not take."""
    import tensorrt as trt

    config = builder.create_builder_config()
    config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, int(settings.workspace_gib * 2**30))
    config.builder_optimization_level = settings.level
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED  # else the inspector tells names only
    config.progress_monitor = progress
    if settings.tf32:  # TensorRT's own default is on
        config.set_flag(trt.BuilderFlag.TF32)
    else:
        config.clear_flag(trt.BuilderFlag.TF32)
    inputs = [network.get_input(index) for index in range(network.num_inputs)]
    free = [tensor.name for tensor in inputs if -1 in sizes(tensor.shape)]
    for index, wanted in enumerate(table):
        profile = builder.create_optimization_profile()
        for name in free:
            least, tuned, most = (trt.Dims(list(shape)) for shape in wanted.inputs[name])
            profile.set_shape(name, least, tuned, most)
        if config.add_optimization_profile(profile) != index:
            raise BuildError(f"TensorRT does not take the profile {wanted.name!r}: {dict(wanted.inputs)}. Report this with the log.")
    cache = config.create_timing_cache(timings)
    if not config.set_timing_cache(cache, ignore_mismatch=False):  # of another TensorRT or GPU: measure anew
        config.set_timing_cache(config.create_timing_cache(b""), ignore_mismatch=False)
    return config


def _serialise(
    builder: trt.Builder, network: trt.INetworkDefinition, config: trt.IBuilderConfig, log: Log, progress: Progress, log_file: Path
) -> bytes:
    from masklet_build.engines.callbacks import stopping_at_a_step

    with stopping_at_a_step(progress):
        plan = builder.build_serialized_network(network, config)
    if plan is None:  # TensorRT says why in its log only
        said = list(log.errors)[-_TOLD:] or ["nothing"]
        raise BuildError(
            "TensorRT built no plan. It said:\n  "
            + "\n  ".join(said)
            + f"\nAll it said is in {log_file}. Where memory is short, allow fewer objects "
            "or videos per call (--objects, --videos), or other processes less of the GPU; where no tactic is found, give more --workspace-gib or "
            "another --level."
        )
    return bytes(plan)


def _inspect(plan: bytes, profiles: int, log: Log) -> tuple[str, tuple[int, ...]]:
    """Loads a plan, as a server would; its layers as JSON, and bytes of working memory per profile."""
    import tensorrt as trt

    runtime = trt.Runtime(log)
    engine = runtime.deserialize_cuda_engine(plan)
    if engine is None:
        raise BuildError("TensorRT cannot load the plan that it just built: " + "; ".join(list(log.errors)[-_TOLD:]))
    memory = tuple(engine.get_device_memory_size_for_profile_v2(index) for index in range(profiles))
    return engine.create_engine_inspector().get_engine_information(trt.LayerInformationFormat.JSON), memory

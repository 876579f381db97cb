"""One engine: from a graph, its profiles and settings to a plan, by one way for TensorRT 10.13 and later, 11, and TensorRT for RTX.

It uses nothing that one of them lacks: no precision flags (the graph has the types), no numbers of flags, no implicit batch.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from masklet.contract import Model
from masklet.families import Variant
from masklet_build.engines.callbacks import Log, Progress, logging, monitor, stopping_at_a_step
from masklet_build.engines.compilers import Compiler, Inspection
from masklet_build.engines.kernels import Kernels
from masklet_build.engines.network import count_softmax, parse, reasons, sizes
from masklet_build.engines.plans import BuildError, Settings
from masklet_build.export.profiles import Profile

_TOLD = 5  # of a compiler's errors, the last; they follow from one another, and the log has all
_SCARCE = re.compile(r"(out ?of|insufficient) ?memory|workspace|tactic|implementation|alloc", re.IGNORECASE)  # what limits and settings can help


@dataclass(frozen=True)
class Built:
    """What came of one build.

    plan            the serialised engine
    timings         the timing cache, with what was measured for this engine; empty where the compiler keeps none
    layers_json     the inspector's list of layers; empty where there is no inspector
    softmax_nodes   of the graph: so many attention kernels has a profile in which all attention is fused
    kernels         one per profile, in the order of the table; empty where that is not known, which `warnings` says
    memory          bytes of activation memory, as kernels
    warnings        each line once
    """

    plan: bytes
    timings: bytes
    layers_json: str
    softmax_nodes: int
    kernels: tuple[Kernels, ...]
    memory: tuple[int, ...]
    warnings: tuple[str, ...]
    seconds: float


def build(
    compiler: Compiler, model: Model, variant: Variant, onnx: Path, table: Sequence[Profile], settings: Settings, timings: bytes, log_file: Path
) -> Built:
    """Builds one engine.

    onnx        the file <engine>.onnx
    timings     a timing cache made by the same TensorRT on the same GPU, or nothing
    log_file    gets every line that the compiler says
    Raises BuildError; KeyboardInterrupt when Ctrl-C stopped it.
    """
    began = time.monotonic()
    with logging(compiler.trt, log_file) as (log, logger), _naming(log), closing(Progress(model.name)) as progress, stopping_at_a_step(progress):
        builder = compiler.trt.Builder(logger)
        network, parser = parse(compiler, builder, logger, onnx, model, variant)
        softmax_nodes = count_softmax(compiler.trt, network)
        config = configure(compiler, builder, network, table, settings, progress, log)
        if compiler.keeps_timings:
            _give_timings(config, timings)
        plan = _serialise(compiler, builder, network, config, table, log)
        del parser  # it held the network's weights
        timings = bytes(config.get_timing_cache().serialize()) if compiler.keeps_timings else b""
        found = _inspected(compiler, plan, len(table), log, logger)
    seconds = time.monotonic() - began
    return Built(plan, timings, found.layers_json, softmax_nodes, found.kernels, found.memory, tuple(log.warnings), seconds)


@contextmanager
def _naming(log: Log) -> Iterator[None]:
    """Every refusal inside also says where the log is."""
    try:
        yield
    except BuildError as error:
        raise BuildError(f"{error}\nThe compiler's log: {log.path}") from error


def configure(compiler: Compiler, builder: Any, network: Any, table: Sequence[Profile], settings: Settings, progress: Progress, log: Log) -> Any:
    """The builder's configuration. Raises BuildError for a profile that the compiler does not take."""
    trt = compiler.trt
    config = builder.create_builder_config()
    config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, int(settings.workspace_gib * 2**30))
    config.builder_optimization_level = settings.level
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED  # else kernels are told by name only
    config.progress_monitor = monitor(trt, progress)
    if settings.tf32:  # the compilers' own default is on
        config.set_flag(trt.BuilderFlag.TF32)
    else:
        config.clear_flag(trt.BuilderFlag.TF32)
    compiler.configure(config)
    inputs = [network.get_input(index) for index in range(network.num_inputs)]
    free = [tensor.name for tensor in inputs if -1 in sizes(tensor.shape)]
    for index, wanted in enumerate(table):
        profile = builder.create_optimization_profile()
        for name in (name for name in free if name in wanted.inputs):  # of one that is not there the compiler tells
            least, tuned, most = (trt.Dims(list(shape)) for shape in wanted.inputs[name])
            profile.set_shape(name, least, tuned, most)
        if config.add_optimization_profile(profile) != index:
            raise BuildError(
                f"{compiler.title} does not take the profile {wanted.name!r}. It said:\n  {_said(compiler, log)}\n{_profiles([wanted], index)}"
            )
    return config


def _give_timings(config: Any, timings: bytes) -> None:
    if not config.set_timing_cache(config.create_timing_cache(timings), ignore_mismatch=False):  # of another TensorRT or GPU: measure anew
        config.set_timing_cache(config.create_timing_cache(b""), ignore_mismatch=False)


def _serialise(compiler: Compiler, builder: Any, network: Any, config: Any, table: Sequence[Profile], log: Log) -> bytes:
    plan = builder.build_serialized_network(network, config)
    if plan is None:  # the compiler says why in its log only
        said = _said(compiler, log)
        raise BuildError(f"{compiler.title} built no plan. It said:\n  {said}\n{_advice(compiler, said, table)}")
    return bytes(plan)


def _said(compiler: Compiler, log: Log) -> str:
    return "\n  ".join(reasons(compiler, log.errors)[-_TOLD:] or ["nothing"])


def _advice(compiler: Compiler, said: str, table: Sequence[Profile]) -> str:
    """By what it is about: more memory makes no type fit."""
    if "profile" in said.lower():
        return _profiles(table)
    if not _SCARCE.search(said):
        return "masklet-build lint knows some reasons, and what to write instead. Where it finds nothing, report this with the log."
    return compiler.advice


def _profiles(table: Sequence[Profile], first: int = 0) -> str:
    """Compilers call profiles by their numbers."""
    lines = []
    for index, profile in enumerate(table, first):
        shapes = ", ".join(f"{name} {list(shapes.min)} to {list(shapes.max)}" for name, shapes in profile.inputs.items())
        lines.append(f"\n  {index} {profile.name!r}: {shapes}")
    return f"Profiles are made by masklet-build: report this with the log. They are{''.join(lines)}"


def _inspected(compiler: Compiler, plan: bytes, profiles: int, log: Log, logger: Any) -> Inspection:
    """What is known of a finished plan, which is good whether or not more is known of it."""
    try:
        found = compiler.inspect(plan, profiles, log, logger)
    except Exception as error:  # whatever NVIDIA's classes raise
        found = Inspection(unknown=str(error))
    if found.unknown:
        log.warnings[f"masklet-build could not read what the plan is made of: {found.unknown}"] = None
    return found

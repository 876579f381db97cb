"""Export of the five engines to ONNX, each checked by numbers against PyTorch before anything becomes visible."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import onnx
import onnxruntime
import torch
from torch import nn

from masklet.contract import Model, engines
from masklet.families import Variant
from masklet_build.checkpoints.loading import checkpoint_sha256, load_checkpoint, source_of
from masklet_build.common import fresh_directory
from masklet_build.export.bars import worst_excess
from masklet_build.export.lint.check import lint_file
from masklet_build.export.onnx_files import ONNX_TYPES, engine_dims, save, store_as_half
from masklet_build.export.precision.check import TypedError, check_typed
from masklet_build.export.precision.choice import PLAIN, Choice
from masklet_build.export.precision.frames import Film
from masklet_build.export.precision.plan import Plan, make_plan
from masklet_build.manifest import FILE_NAME, Manifest, file_sha256
from masklet_build.models.samples import Sizes, fitting_sizes, sample_inputs
from masklet_build.models.stages import TorchStages
from masklet_build.models.variants import trunk_of

OPSET = 17  # the first with LayerNormalization; read by every runtime that masklet targets
BF16_OPSET = 22  # the first whose convolutions take bfloat16
_TRACER_OPSET = 20  # the newest that the tracing exporter writes; up to 22 the operators of the engines only got further types

# One and several of everything; one frame beside several, since the pooled variants treat it in another way.
CHECKED_SIZES = (Sizes(), Sizes(V=2, B=3, F=2, P=3, N=3, R=2), Sizes(V=1, B=2, F=1, P=2, N=4), Sizes(V=2, B=1, F=3, P=1, N=2))

_TRACED_SIZES = Sizes(V=2, B=3, F=2, P=3, N=4, R=2)  # all above 1, so that none is taken for a constant

Run = Callable[[Mapping[str, np.ndarray]], Mapping[str, np.ndarray]]


class ExportError(Exception):
    """The export was not possible, or its result is not what PyTorch computes."""


def export(
    variant: Variant,
    checkpoint_path: str | Path,
    out_dir: str | Path,
    *,
    choice: Choice = PLAIN,
    film: Film | None = None,
    half_storage: bool = False,
    fixtures: bool = False,
    sizes: Sequence[Sizes] = CHECKED_SIZES,
    force: bool = False,
    weights: str | None = None,
    progress: Callable[[str], None] = lambda message: None,
) -> Manifest:
    """Writes <engine>.onnx for the five engines and manifest.json into `out_dir`, all or nothing.

    choice          types of arithmetic, and whom the graphs are for
    film            frames that the range scan looks at before something becomes fp16; None: a drawn clip
    half_storage    weights that float16 holds exactly are stored so: smaller files, the same results
    fixtures        also writes what the network answers in float32, for `masklet-build selftest` (masklet_build.export.fixtures.record)
    sizes           of the calls that every engine is checked with
    force           replaces engines that were written to `out_dir` before
    weights         which weights of a checkpoint that holds several (masklet_build.checkpoints.loading)
    progress        gets a line per step
    Raises OutputExists, CheckpointError and ExportError.
    """
    checkpoint = Path(checkpoint_path)
    with fresh_directory(Path(out_dir), mark=FILE_NAME, force=force) as folder:
        progress(f"reading {checkpoint}")
        reference = TorchStages(load_checkpoint(checkpoint, variant, weights=weights, say=progress), variant)
        progress(f"{checkpoint.name} is {source_of(checkpoint, variant)}")
        plan = make_plan(reference, variant, choice, film, progress)
        differences = {}
        for model in engines(variant):
            progress(f"exporting {model.name}")
            path = folder / f"{model.name}.onnx"
            stage = plan.stage(model.name, reference.stages[model.name])
            export_engine(stage, model, variant, path, opset_of(choice))
            if half_storage:
                store_as_half(path)
            progress(f"checking {model.name}")
            differences[model.name] = _check(path, model, plan, reference, variant, sizes)
        if fixtures:
            from masklet_build.export.fixtures.record import write_beside  # Pillow, which exporting for CPUs does without

            write_beside(folder, variant, reference, checkpoint_sha256(checkpoint, weights), progress)
        tools = {"torch": torch.__version__, "onnx": onnx.__version__, "onnxruntime": onnxruntime.__version__}
        manifest = manifest_of(variant, checkpoint, weights, folder, plan, differences, opset_of(choice), tools)
        manifest.write(folder)
    return manifest


def opset_of(choice: Choice) -> int:
    """The ONNX opset of an export."""
    return BF16_OPSET if "bf16" in (choice.precision, choice.attention) else OPSET


def _check(path: Path, model: Model, plan: Plan, reference: TorchStages, variant: Variant, sizes: Sequence[Sizes]) -> dict[str, float]:
    """Raises ExportError if the file is not what it should be. Returns how far its outputs are from float32, where that is not rounding only."""
    if plan.choice.purpose == "tensorrt" and (findings := lint_file(path, model, variant, plan.choice.purpose)):
        lines = "".join(f"\n  {finding}" for finding in findings)
        raise ExportError(f"{model.name}: TensorRT would not take the graph as it should:{lines}\nNothing was written. Report this.")
    if not plan.choice.reduced:
        check_engine(path, model.name, reference, variant, sizes)
        return {}
    try:
        return check_typed(path, model, plan.choice, reference, variant, sizes)
    except TypedError as error:
        raise ExportError(str(error)) from error


def manifest_of(
    variant: Variant,
    checkpoint: Path,
    weights: str | None,
    folder: Path,
    plan: Plan,
    differences: Mapping[str, Mapping[str, float]],
    opset: int,
    tools: Mapping[str, str],
) -> Manifest:
    """The manifest of the files in `folder`."""
    return Manifest.now(
        variant=variant.name,
        checkpoint={
            "name": checkpoint.resolve().name,
            "sha256": checkpoint_sha256(checkpoint, weights),
            "source": source_of(checkpoint, variant) + (f"; its weights {weights}" if weights else ""),
        },
        opset=opset,
        tools=tools,
        files={path.name: file_sha256(path) for path in sorted(folder.iterdir())},
        precision=plan.choice.precision,
        attention=plan.choice.attention,
        purpose=plan.choice.purpose,
        kept_fp32=plan.kept,
        vanishing=plan.vanishing,
        differences={name: found for name, found in differences.items() if found},
    )


def export_engine(stage: nn.Module, model: Model, variant: Variant, path: Path, opset: int = OPSET) -> None:
    """Traces one stage and writes it with the names, types and dimensions of the contract."""
    sizes = Sizes(V=min(_TRACED_SIZES.V, trunk_of(variant).max_images)) if model.batched else _TRACED_SIZES
    samples = sample_inputs(model.name, variant, sizes, seed=0)
    inputs = tuple(torch.from_numpy(samples[tensor.name]) for tensor in model.inputs)
    shapes = {tensor.name: engine_dims(tensor, model, variant) for tensor in (*model.inputs, *model.outputs)}
    free = {name: {axis: dim for axis, dim in enumerate(dims) if isinstance(dim, str)} for name, dims in shapes.items()}
    with warnings.catch_warnings(), torch.no_grad(), TemporaryDirectory(dir=path.parent) as scratch:
        # The tracing exporter is deprecated, but the other one's memory encoder does not run in OpenVINO for several objects.
        # Tracer warnings are about Python numbers, which are constants here; `check_engine` would see a wrong one.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            stage,
            inputs,
            f"{scratch}/{path.name}",
            input_names=[tensor.name for tensor in model.inputs],
            output_names=[tensor.name for tensor in model.outputs],
            dynamic_axes=free,
            opset_version=min(opset, _TRACER_OPSET),
            dynamo=False,
        )
        graph = onnx.load(f"{scratch}/{path.name}")
    if opset > _TRACER_OPSET:
        graph.opset_import[0].version = opset
        graph.ir_version = max(graph.ir_version, onnx.helper.find_min_ir_version_for(graph.opset_import))
    _share_constants(graph)
    _declare(graph, model, shapes)
    save(graph, path)


def _declare(graph: onnx.ModelProto, model: Model, shapes: Mapping[str, tuple[int | str, ...]]) -> None:
    """Gives the graph's inputs and outputs the contract's types and dimensions: the tracer leaves some output dimensions unnamed."""
    for values, tensors in ((graph.graph.input, model.inputs), (graph.graph.output, model.outputs)):
        names = [value.name for value in values]
        if names != [tensor.name for tensor in tensors]:
            raise ExportError(f"{model.name}: the exported graph has {names}. An input that is not used gets lost: mend the stage.")
        for value, tensor in zip(values, tensors, strict=True):
            value.CopyFrom(onnx.helper.make_tensor_value_info(tensor.name, ONNX_TYPES[tensor.dtype], shapes[tensor.name]))


def _share_constants(graph: onnx.ModelProto) -> None:
    """Turns constant nodes into initializers, equal ones into one: the tracer writes a table again wherever it is used."""
    shared: dict[bytes, str] = {}
    names: dict[str, str] = {}
    kept = []
    for node in graph.graph.node:
        if node.op_type != "Constant":
            kept.append(node)
            continue
        tensor = node.attribute[0].t
        tensor.name = ""
        key = tensor.SerializeToString()
        if key not in shared:
            shared[key] = tensor.name = f"constant_{len(shared)}"
            graph.graph.initializer.append(tensor)
        names[node.output[0]] = shared[key]
    for node in kept:
        node.input[:] = [names.get(name, name) for name in node.input]
    del graph.graph.node[:]
    graph.graph.node.extend(kept)


def check_engine(path: Path, engine_name: str, reference: TorchStages, variant: Variant, wanted_sizes: Sequence[Sizes] = CHECKED_SIZES) -> None:
    """Runs an ONNX file beside PyTorch for several sizes. Raises ExportError that names the worst output."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    compare(lambda inputs: dict(zip(names, session.run(names, inputs), strict=True)), engine_name, reference, variant, wanted_sizes)


def compare(run: Run, engine_name: str, reference: TorchStages, variant: Variant, wanted_sizes: Sequence[Sizes]) -> None:
    """Compares an engine, which gives outputs by name, with PyTorch for several sizes. Raises ExportError that names the first output that is off."""
    model = reference.models[engine_name]
    for sizes in fitting_sizes(wanted_sizes, model, variant):
        inputs = sample_inputs(engine_name, variant, sizes, seed=1)
        got = run(inputs)
        for name, wanted in reference.call(engine_name, inputs).items():
            excess = worst_excess(got[name], wanted)
            if excess > 1:
                raise ExportError(
                    f"{engine_name}: output {name} differs from PyTorch by {excess:.3g} times what rounding explains, for {sizes}. "
                    "Nothing was written. Report this with the versions of torch and onnxruntime."
                )

"""The engines as PyTorch programs (`torch.export`), for servers that run them with PyTorch.

A program is a graph of PyTorch's operators with its weights, in one file. It needs no code of masklet where it runs, and moves to any device.
Attention is PyTorch's own operator there, for which it has fused kernels (`masklet_build.models.sam.layers.attention`).
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from masklet.contract import Model, engines, resolve
from masklet.families import Variant
from masklet_build.checkpoints.loading import load_checkpoint, source_of
from masklet_build.common import fresh_directory
from masklet_build.embedded.torch_runner import ONE_FRAME, SUFFIX, TENSORS, TorchRunner
from masklet_build.export.onnx_export import CHECKED_SIZES, ExportError, compare, manifest_of
from masklet_build.export.precision.check import TypedError, bar
from masklet_build.export.precision.check import differences as typed_differences
from masklet_build.export.precision.choice import Choice
from masklet_build.export.precision.frames import Film
from masklet_build.export.precision.plan import make_plan
from masklet_build.manifest import FILE_NAME, Manifest
from masklet_build.models.samples import Sizes, fitting_sizes, sample_inputs
from masklet_build.models.stages import TorchStages
from masklet_build.models.variants import trunk_of

FP32 = Choice(purpose="torch")

_TRACED = Sizes(V=2, B=3, F=4, P=5, N=6, R=7)  # above 1 and different, so that none is taken for a constant or for another


def export_programs(
    variant: Variant,
    checkpoint_path: str | Path,
    out_dir: str | Path,
    *,
    choice: Choice = FP32,
    film: Film | None = None,
    sizes: Sequence[Sizes] = CHECKED_SIZES,
    force: bool = False,
    weights: str | None = None,
    progress: Callable[[str], None] = lambda message: None,
) -> Manifest:
    """Writes the programs of the five engines and manifest.json into `out_dir`, all or nothing; arguments as of `onnx_export.export`.

    Every program is read again and run by what runs it in a server, beside the stages in float32. Raises OutputExists, CheckpointError and
    ExportError.
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
            path = write_programs(plan.stage(model.name, reference.stages[model.name]), model, variant, folder)
            progress(f"checking {model.name}")
            differences[model.name] = check_program(path, model, choice, reference, variant, sizes)
        manifest = manifest_of(variant, checkpoint, weights, folder, plan, differences, 0, {"torch": torch.__version__})
        manifest.write(folder)
    return manifest


def check_program(path: Path, model: Model, choice: Choice, reference: TorchStages, variant: Variant, sizes: Sequence[Sizes]) -> dict[str, float]:
    """Runs a program on this CPU beside the stage. Returns how far its outputs are from float32, where that is not rounding only.

    Raises ExportError.
    """
    runner = TorchRunner(path, choice.precision, torch.get_num_threads(), 1, "cpu")

    def run(inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        return runner([inputs])[0]

    if not choice.reduced:
        compare(run, model.name, reference, variant, sizes)
        return {}
    calls = [sample_inputs(model.name, variant, size, seed=1) for size in fitting_sizes(sizes, model, variant)]
    try:
        return typed_differences(model.name, run, reference, calls, bar(choice))
    except TypedError as error:
        raise ExportError(str(error)) from error


def write_programs(stage: nn.Module, model: Model, variant: Variant, folder: Path) -> Path:
    """Traces one stage and writes <engine>.pt2 into `folder`; also <engine>.one_frame.pt2 where memory is pooled, but not that of a single frame.

    Returns the first. Raises what torch.export raises where a stage fixes a size that the contract leaves free.
    """
    path = folder / f"{model.name}{SUFFIX}"
    sizes = Sizes(V=min(_TRACED.V, trunk_of(variant).max_images)) if model.batched else _TRACED
    pools = model.name == "memory_attention" and variant.pooling != "none"
    _write(stage, model, variant, path, sizes, {"F": 2} if pools else {})
    if pools:
        _write(stage, model, variant, path.with_name(f"{model.name}{ONE_FRAME}{SUFFIX}"), replace(sizes, F=1), {})
    return path


class _Named(nn.Module):
    """A stage one level down: `torch.export` gives its tensors back as attributes of a module that has some of its own, such as `code`."""

    def __init__(self, stage: nn.Module) -> None:
        super().__init__()
        self.stage = copy.deepcopy(stage)
        for module in self.stage.modules():
            for name, table in module.named_buffers(recurse=False):
                setattr(module, name, table.contiguous().clone())  # a file of tensors takes no views

    def forward(self, *inputs: Tensor) -> Any:
        """As the stage's."""
        return self.stage(*inputs)


def _write(stage: nn.Module, model: Model, variant: Variant, path: Path, sizes: Sizes, least: Mapping[str, int]) -> None:
    samples = sample_inputs(model.name, variant, sizes, seed=0)
    inputs = tuple(torch.from_numpy(samples[tensor.name]) for tensor in model.inputs)
    with torch.no_grad():
        program = torch.export.export(_Named(stage), inputs, dynamic_shapes=(tuple(_free(model, variant, sizes, least)),))
    names = {"inputs": [tensor.name for tensor in model.inputs], "outputs": [tensor.name for tensor in model.outputs]}
    torch.export.save(program, path, extra_files={TENSORS: json.dumps(names)})


def _free(model: Model, variant: Variant, sizes: Sizes, least: Mapping[str, int]) -> Iterator[dict[int, Any]]:
    """For each input: axis -> the free dimension there, and the least that it may be. What is traced with 1 stays 1."""
    known: dict[str, Any] = {}
    for tensor in model.inputs:
        dims = (*(("V",) if model.batched else ()), *resolve(tensor.dims, variant))
        free = {axis: dim for axis, dim in enumerate(dims) if isinstance(dim, str) and getattr(sizes, dim) > 1}
        yield {axis: known.setdefault(dim, torch.export.Dim(dim, min=least.get(dim, 1))) for axis, dim in free.items()}

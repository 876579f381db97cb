"""The engines as PyTorch programs (`torch.export`), for servers that run them with PyTorch.

A program is a graph of PyTorch's operators with its weights in one file. It needs no code of masklet where it runs, and any device will do. Attention
is PyTorch's own operator there, for which it has fused kernels (`masklet_build.sam.layers.attention`).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from masklet.contract import Model, resolve
from masklet.contract import Tensor as TensorSpec
from masklet.families import Variant
from masklet_build.embedded.programs import ONE_FRAME, SUFFIX, TENSORS
from masklet_build.samples import Sizes, sample_inputs

# All above 1 and different, so that none is taken for a constant or for another.
_TRACED = Sizes(V=2, B=3, F=4, P=5, N=6, R=7)


def write_programs(stage: nn.Module, model: Model, variant: Variant, folder: Path) -> list[Path]:
    """Writes <engine>.pt2; also <engine>.one_frame.pt2 where memory is pooled, but not that of a single frame. Returns the files."""
    path = folder / f"{model.name}{SUFFIX}"
    if model.name != "memory_attention" or variant.pooling == "none":
        return [_write(stage, model, variant, path, _TRACED)]
    several = _write(stage, model, variant, path, _TRACED, at_least={"F": 2})
    return [several, _write(stage, model, variant, folder / f"{model.name}{ONE_FRAME}{SUFFIX}", Sizes(**{**vars(_TRACED), "F": 1}))]


def _write(stage: nn.Module, model: Model, variant: Variant, path: Path, sizes: Sizes, at_least: Mapping[str, int] | None = None) -> Path:
    if model.batched:
        sizes = Sizes(V=min(sizes.V, variant.trunk.max_images))
    samples = sample_inputs(model.name, variant, sizes, seed=0)
    inputs = tuple(torch.from_numpy(samples[tensor.name]) for tensor in model.inputs)
    free = _free_dims(model, variant, sizes, at_least or {})
    with torch.no_grad():
        program = torch.export.export(stage, inputs, dynamic_shapes=_by_argument(stage, free), strict=False)
    names = {kind: [tensor.name for tensor in tensors] for kind, tensors in (("inputs", model.inputs), ("outputs", model.outputs))}
    torch.export.save(program, path, extra_files={TENSORS: json.dumps(names)})
    return path


def _free_dims(model: Model, variant: Variant, sizes: Sizes, at_least: Mapping[str, int]) -> list[dict[int, Any]]:
    """For each input: axis -> what is free there. A dimension that was traced with 1 is fixed."""
    known: dict[str, Any] = {}
    found = []
    for tensor in model.inputs:
        dims = program_dims(tensor, model, variant)
        names = {axis: dim for axis, dim in enumerate(dims) if isinstance(dim, str) and getattr(sizes, dim) > 1}
        found.append({axis: known.setdefault(dim, torch.export.Dim(dim, min=at_least.get(dim, 1))) for axis, dim in names.items()})
    return found

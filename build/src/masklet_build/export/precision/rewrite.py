"""A stage with typed layers in place of its own. The stage itself stays as it is."""

from __future__ import annotations

import copy
from collections.abc import Collection, Iterator

from torch import nn

from masklet_build.export.precision.choice import Choice
from masklet_build.export.precision.layers import DTYPES, FusibleAttention, NodeNorm2d, TypedAttention, typed
from masklet_build.models.sam.layers import Attending, LayerNorm2d

CORE = ".core"  # behind the path of a module that attends: its attention core


def layers(stage: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Path and module of every projection and convolution of a stage that is not typed, each once."""
    yield from ((name, module) for name, module in stage.named_modules() if isinstance(module, (nn.Linear, nn.Conv2d, nn.ConvTranspose2d)))


def cores(stage: nn.Module) -> Iterator[tuple[str, Attending]]:
    """Path of every attention core, and the module that has it."""
    yield from ((f"{name}{CORE}", module) for name, module in stage.named_modules() if isinstance(module, Attending))


def typed_stage(stage: nn.Module, choice: Choice, kept: Collection[str] = ()) -> nn.Module:
    """A copy of a stage whose layers and attention cores compute in the types of `choice`, but for those whose paths are in `kept`.

    For TensorRT it also has the forms that TensorRT recognises, whatever the types: norms of maps as one node, attention of one width. PyTorch has
    one kernel for a norm, too.
    """
    made = copy.deepcopy(stage)
    replaced: dict[int, nn.Module] = {}
    if choice.precision != "fp32":
        replaced |= {id(module): typed(module, DTYPES[choice.precision]) for name, module in layers(made) if name not in kept}
    if choice.purpose != "cpu":
        replaced |= {id(module): NodeNorm2d.of(module) for module in made.modules() if isinstance(module, LayerNorm2d)}
        core = FusibleAttention if choice.purpose == "tensorrt" else TypedAttention
        for name, module in cores(made):
            module.core = core(DTYPES["fp32" if name in kept else choice.attention])  # type: ignore[method-assign]
    for parent in list(made.modules()):
        for name, child in list(parent.named_children()):
            if id(child) in replaced:
                setattr(parent, name, replaced[id(child)])
    return made.eval().requires_grad_(False)

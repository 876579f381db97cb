"""The largest values of everything that would become fp16, read while the fp32 network works.

fp16 ends at 65,504; what is above becomes infinite.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial

import torch
from torch import Tensor, nn

from masklet_build.export.precision.choice import Choice
from masklet_build.export.precision.rewrite import CORE, cores, layers
from masklet_build.manifest import KeptModule
from masklet_build.models.sam.layers import attention

# Half of fp16's 65,504, rounded down: frames that were not looked at may be twice as large.
SAFE = 32_000.0

_METHODS = ("forward", "product")  # of a layer, each a way to multiply


class Ranges:
    """Largest absolute values: engine -> module -> tensor -> value; NaN counts as infinite.

    Tensors of a layer: weight, bias, input, output; of a core: queries, keys, values, scores.
    """

    def __init__(self) -> None:
        self.largest: dict[str, dict[str, dict[str, float]]] = defaultdict(lambda: defaultdict(dict))

    def see(self, engine: str, module: str, tensor: str, values: Tensor) -> None:
        """Takes values into account."""
        found = float(values.detach().abs().amax()) if values.numel() else 0.0
        known = self.largest[engine][module]
        known[tensor] = max(known.get(tensor, 0.0), found if found == found else float("inf"))

    def kept(self, choice: Choice) -> tuple[KeptModule, ...]:
        """The modules that would become fp16, and have to stay fp32: those that saw more than SAFE, and those that never ran."""
        found = []
        for engine, modules in self.largest.items():
            for module, tensors in modules.items():
                if (choice.attention if module.endswith(CORE) else choice.precision) == "fp16" and (reason := _reason(module, tensors)):
                    ran = set(tensors) - {"weight", "bias"}
                    found.append(KeptModule(engine, module, max(tensors.values()) if ran else None, reason))
        return tuple(found)


def _reason(module: str, tensors: Mapping[str, float]) -> str | None:
    if not set(tensors) - {"weight", "bias"}:
        return "it did not run in the range scan, so nothing is known of its values"
    tensor, largest = max(tensors.items(), key=lambda item: item[1])
    if largest <= SAFE:
        return None
    advice = "; attention in bf16 would have the range and could be fused" if module.endswith(CORE) else ""
    return f"{tensor} up to {largest:.4g}, above {SAFE:.0f}; fp16 ends at 65504{advice}"


@contextmanager
def recording(stages: Mapping[str, nn.Module]) -> Iterator[Ranges]:
    """While open, what goes through the layers and attention cores of the stages (by engine) is seen. The numbers do not change."""
    ranges = Ranges()
    undo: list[tuple[nn.Module, str]] = []
    try:
        for engine, stage in stages.items():
            for name, layer in layers(stage):
                _see_parameters(ranges, engine, name, layer)
                for method in _METHODS:
                    if hasattr(layer, method):
                        setattr(layer, method, partial(_layer, partial(ranges.see, engine, name), getattr(layer, method)))
                        undo.append((layer, method))
            for name, module in cores(stage):
                ranges.largest[engine][name]  # known, though it may never run
                module.core = partial(_core, partial(ranges.see, engine, name))  # type: ignore[method-assign]
                undo.append((module, "core"))
        yield ranges
    finally:
        for owner, method in undo:
            delattr(owner, method)


def _see_parameters(ranges: Ranges, engine: str, name: str, layer: nn.Module) -> None:
    for tensor, values in layer.named_parameters(recurse=False):
        ranges.see(engine, name, tensor, values)


def _layer(see: Callable[[str, Tensor], None], method: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    out = method(x)
    see("input", x)
    see("output", out)
    return out


def _core(see: Callable[[str, Tensor], None], q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None = None) -> Tensor:
    for tensor, values in (("queries", q), ("keys", k), ("values", v)):
        see(tensor, values)
    scores = q @ k.transpose(-2, -1)
    see("scores", scores if bias is None else scores + bias)
    return attention(q, k, v, bias)


def vanishing(stages: Mapping[str, nn.Module]) -> dict[str, dict[str, int]]:
    """Engine -> layer -> how many of its weights are not zero, but become zero in fp16 (below half of its smallest number, 2^-25)."""
    counts = {engine: {name: _vanishing(layer.weight) for name, layer in layers(stage)} for engine, stage in stages.items()}
    return {engine: found for engine, modules in counts.items() if (found := {name: count for name, count in modules.items() if count})}


def _vanishing(weight: Tensor) -> int:
    return int(((weight != 0) & (weight.to(torch.float16) == 0)).sum())

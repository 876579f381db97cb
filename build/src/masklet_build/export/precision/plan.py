"""What becomes of each module: decided once for all five engines, before the first of them is traced."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from torch import nn

from masklet.families import Variant
from masklet_build.export.precision.choice import PLAIN, Choice
from masklet_build.export.precision.frames import Film
from masklet_build.export.precision.ranges import recording, vanishing
from masklet_build.export.precision.rewrite import typed_stage
from masklet_build.manifest import KeptModule
from masklet_build.models.stages import TorchStages


@dataclass(frozen=True)
class Plan:
    """A choice, and what the range scan made of it.

    kept       modules that keep float32
    vanishing  engine -> module -> weights that fp16 loses
    """

    choice: Choice
    kept: tuple[KeptModule, ...] = ()
    vanishing: Mapping[str, Mapping[str, int]] = field(default_factory=dict)

    def stage(self, engine: str, stage: nn.Module) -> nn.Module:
        """The stage as it is to be traced; the stage itself where nothing is asked of it."""
        if self.choice == PLAIN:
            return stage
        return typed_stage(stage, self.choice, {kept.module for kept in self.kept if kept.engine == engine})

    def stages(self, reference: TorchStages) -> TorchStages:
        """All of them, to be called in PyTorch."""
        return reference.replaced({engine: self.stage(engine, stage) for engine, stage in reference.stages.items()})


def make_plan(
    reference: TorchStages, variant: Variant, choice: Choice, film: Film | None = None, progress: Callable[[str], None] = lambda message: None
) -> Plan:
    """Looks at the ranges of the float32 network on the film (None: a drawn clip) where something is to become fp16; bf16 has float32's range."""
    if not choice.scanned:
        return Plan(choice)
    from masklet_build.export.precision.film import drawn_film, show  # Pillow, which exporting in fp32 does without

    with recording(reference.stages) as ranges:
        show(variant, reference, film or drawn_film(variant.image_size), progress)
    plan = Plan(choice, ranges.kept(choice), vanishing(reference.stages) if choice.precision == "fp16" else {})
    for kept in plan.kept:
        progress(f"{kept.engine}: {kept.module} keeps fp32: {kept.reason}")
    for engine, modules in plan.vanishing.items():
        for module, count in modules.items():
            progress(f"{engine}: {count} weights of {module} are too small for fp16, and become 0")
    return plan

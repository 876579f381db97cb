"""How much a frame is to compute, and what frame rate a machine could reach at best."""

from __future__ import annotations

from pathlib import Path

from torch.utils.flop_counter import FlopCounterMode

from benchmarks.bare import ENGINES, steady_inputs
from masklet.families import Variant
from masklet_build.checkpoints.loading import load_checkpoint
from masklet_build.models.stages import TorchStages


def frame_gflop(checkpoint: Path, variant: Variant, objects: int) -> float:
    """Products and sums of all matrix products and convolutions for a frame late in a video, in units of 10^9."""
    stages = TorchStages(load_checkpoint(checkpoint, variant), variant)
    inputs = steady_inputs(variant, objects)
    with FlopCounterMode(display=False) as counter:
        for name in ENGINES:
            stages.call(name, inputs[name])
    return counter.get_total_flops() / 1e9

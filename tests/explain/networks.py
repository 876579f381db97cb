"""Networks of every family, small, with random weights; one at a time, since they stand in memory. Needs torch."""

from __future__ import annotations

from functools import lru_cache

from masklet.families import Variant
from masklet_build.checkpoints.random_weights import random_checkpoint
from masklet_build.models.stages import TorchStages
from masklet_build.models.variants import variant

SMALL = ("efficienttam_ti_512@64", "efficienttam_ti_1@64", "efficienttam_ti_2@64", "sam2.1_t@64", "sam3:2@336", "edgetam@256")


@lru_cache(maxsize=1)
def small_network(name: str) -> tuple[Variant, TorchStages]:
    """A variant, and its stages."""
    made = variant(name)
    return made, TorchStages(random_checkpoint(made, seed=1), made)

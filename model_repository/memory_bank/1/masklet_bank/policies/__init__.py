"""Memory policies: which frames of an object are read, kept and evicted. A file each; they know frame numbers and scores, no arrays."""

from __future__ import annotations

from masklet.families import Family
from masklet_bank.policies.official import MemoryPolicy
from masklet_bank.policies.selected import Selected


def policy_of(family: Family, max_conditioning: int) -> MemoryPolicy:
    """The policy of the official predictor of a family, on a server that keeps so many prompted frames of an object behind it (0: all)."""
    return (MemoryPolicy if family.selection is None else Selected)(family, max_conditioning)

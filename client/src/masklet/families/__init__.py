"""The model families and variants that masklet serves: behaviour in `Family`, numbers in `Variant`.

Every number of a family or an official variant names the official line that it was read from, in `sources` (field -> "file:line" below the
family's `official` commit), and a test checks that none lacks one; `NANO` is masklet's own. Code never asks for a family by name: what differs
between families is a field here, or lives in an engine.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from masklet.families import efficienttam, sam2
from masklet.families.definitions import MEMORY_WIDTH, Family, Perceiver, Variant
from masklet.families.efficienttam import EFFICIENTTAM, NANO
from masklet.families.trunks import Hiera, PlainVit, Trunk

__all__ = [
    "EFFICIENTTAM",
    "MEMORY_WIDTH",
    "NANO",
    "VARIANTS",
    "Family",
    "Hiera",
    "Perceiver",
    "PlainVit",
    "Trunk",
    "Variant",
    "scaled_down",
    "variant",
]

VARIANTS: Mapping[str, Variant] = {variant.name: variant for variant in (*efficienttam.VARIANTS, *sam2.VARIANTS, NANO)}


def variant(name: str) -> Variant:
    """The variant of that name; NAME@SIDE is that variant scaled down. Raises ValueError that lists the known names."""
    base, at, side = name.partition("@")
    if base not in VARIANTS or (at and not (side.isascii() and side.isdigit())):
        raise ValueError(f"unknown variant {name!r}. Known: {', '.join(VARIANTS)}.")
    return scaled_down(VARIANTS[base], int(side)) if at else VARIANTS[base]


def scaled_down(base: Variant, image_size: int) -> Variant:
    """The same network at another image size, for tests: no official weights exist for it. Raises ValueError for a size its trunk cannot take."""
    if image_size <= 0 or image_size % base.trunk.step:
        raise ValueError(f"image size {image_size} of {base.name} is not a multiple of {base.trunk.step} pixels.")
    return replace(base, name=f"{base.name}@{image_size}", image_size=image_size)

"""The model families and variants that masklet serves: behaviour in `Family`, numbers in `Variant`.

Every number of a family or an official variant names the official line that it was read from, in `sources` (field -> "file:line" below the
family's `official` commit), and a test checks that none lacks one; `NANO` is masklet's own. Code never asks for a family by name: what differs
between families is a field here, or lives in an engine.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace

from masklet.families import edgetam, efficienttam, sam2, sam3
from masklet.families.definitions import MEMORY_WIDTH, Family, Perceiver, Selection, Variant
from masklet.families.efficienttam import EFFICIENTTAM, NANO
from masklet.families.sam3 import SAM3
from masklet.families.states import header_bytes, most_prompted, state_bytes
from masklet.families.trunks import Hiera, PlainVit, RepViT, Sam3Vit, Trunk

__all__ = [
    "EFFICIENTTAM",
    "MEMORY_WIDTH",
    "NANO",
    "SAM3",
    "VARIANTS",
    "Family",
    "Hiera",
    "Perceiver",
    "PlainVit",
    "RepViT",
    "Sam3Vit",
    "Selection",
    "Trunk",
    "Variant",
    "header_bytes",
    "most_prompted",
    "scaled_down",
    "shallow",
    "state_bytes",
    "variant",
]

_VARIANTS = (*efficienttam.VARIANTS, *sam2.VARIANTS, *sam3.VARIANTS, *edgetam.VARIANTS, NANO)
VARIANTS: Mapping[str, Variant] = {variant.name: variant for variant in _VARIANTS}


def variant(name: str) -> Variant:
    """The variant of that name. For tests and trials, behind a name: `:BLOCKS` for a shallow one, then `@SIDE` for one scaled down.

    Raises ValueError that lists the known names.
    """
    parts = re.fullmatch(r"([^:@]+)(?::(\d+))?(?:@(\d+))?", name, re.ASCII)
    if parts is None or parts[1] not in VARIANTS:
        raise ValueError(f"unknown variant {name!r}. Known: {', '.join(VARIANTS)}.")
    made = VARIANTS[parts[1]]
    made = shallow(made, int(parts[2])) if parts[2] else made
    return scaled_down(made, int(parts[3])) if parts[3] else made


def scaled_down(base: Variant, image_size: int) -> Variant:
    """The same network at another image size, for tests: no official weights exist for it. Raises ValueError for a size that it cannot take."""
    if image_size <= 0 or image_size % base.step:
        raise ValueError(f"image size {image_size} of {base.name} is not a multiple of {base.step} pixels.")
    return replace(base, name=f"{base.name}@{image_size}", image_size=image_size)


def shallow(base: Variant, blocks: int) -> Variant:
    """The same network with fewer blocks in its trunk, every second one global, for tests: that of SAM 3 has 1.8 GB. Raises ValueError."""
    if not isinstance(base.trunk, Sam3Vit) or blocks < 2 or blocks % 2:
        raise ValueError(f"{base.name} cannot be made of {blocks} blocks: only variants of SAM 3 can, of an even number.")
    trunk = replace(base.trunk, depth=blocks, global_blocks=tuple(range(1, blocks, 2)))
    return replace(base, name=f"{base.name}:{blocks}", trunk=trunk)

"""The model families and variants that masklet serves: behaviour in `Family`, numbers in `Variant`.

Every number of a family or an official variant names the official line that it was read from, in `sources` (field -> "file:line" below the
family's `official` commit), and a test checks that none lacks one; `NANO` is masklet's own. Code never asks for a family by name: what differs
between families is a field here, or lives in an engine.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from masklet.families import edgetam, efficienttam, sam2, sam3
from masklet.families.definitions import MEMORY_WIDTH, Cleaning, Family, Perceiver, Selection, Variant
from masklet.families.efficienttam import EFFICIENTTAM, NANO
from masklet.families.sam3 import SAM3
from masklet.families.states import header_bytes, most_prompted, state_bytes

__all__ = [
    "EFFICIENTTAM",
    "MEMORY_WIDTH",
    "NANO",
    "SAM3",
    "VARIANTS",
    "Cleaning",
    "Family",
    "Perceiver",
    "Selection",
    "Variant",
    "header_bytes",
    "most_prompted",
    "state_bytes",
    "variant",
]

_VARIANTS = (*efficienttam.VARIANTS, *sam2.VARIANTS, *sam3.VARIANTS, *edgetam.VARIANTS, NANO)
VARIANTS: Mapping[str, Variant] = {variant.name: variant for variant in _VARIANTS}


def variant(name: str, image_size: int | None = None) -> Variant:
    """The variant of that name, for images of its own size or of another, as a server's configs say. Raises ValueError that lists the known names."""
    if name not in VARIANTS:
        raise ValueError(f"unknown variant {name!r}. Known: {', '.join(VARIANTS)}.")
    return VARIANTS[name] if image_size is None else replace(VARIANTS[name], image_size=image_size)

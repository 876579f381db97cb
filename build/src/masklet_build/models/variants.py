"""A variant by the name that commands take. For tests and trials there are small ones, which have no official weights: NAME[:BLOCKS][@SIDE]."""

from __future__ import annotations

import math
import re
from dataclasses import replace

from masklet.families import VARIANTS, Variant
from masklet_build.models.trunks import TRUNKS, Sam3Vit, Trunk

_NAME = re.compile(r"(?P<known>[^:@]+)(?::(?P<blocks>\d+))?(?:@(?P<side>\d+))?", re.ASCII)


def variant(name: str) -> Variant:
    """The variant of that name. Behind the name of one that is served: `:BLOCKS` for a shallow one, then `@SIDE` for one scaled down.

    Raises ValueError that lists the known names.
    """
    parts = _NAME.fullmatch(name)
    if parts is None or parts["known"] not in VARIANTS:
        raise ValueError(f"unknown variant {name!r}. Known: {', '.join(VARIANTS)}.")
    made = VARIANTS[parts["known"]]
    made = shallow(made, int(parts["blocks"])) if parts["blocks"] else made
    return scaled_down(made, int(parts["side"])) if parts["side"] else made


def scaled_down(base: Variant, image_size: int) -> Variant:
    """The same network at another image size. Raises ValueError for a size that it cannot take."""
    step = step_of(base)
    if image_size <= 0 or image_size % step:
        raise ValueError(f"image size {image_size} of {base.name} is not a multiple of {step} pixels.")
    return replace(base, name=f"{base.name}@{image_size}", image_size=image_size)


def shallow(base: Variant, blocks: int) -> Variant:
    """The same network with fewer blocks in its trunk, every second one global: that of SAM 3 has 1.8 GB. Raises ValueError."""
    made = replace(base, name=f"{base.name}:{blocks}")
    trunk_of(made)
    return made


def trunk_of(variant: Variant) -> Trunk:
    """The backbone of a variant. Raises ValueError where it cannot have so few blocks as the name says."""
    parts = _NAME.fullmatch(variant.name)
    assert parts is not None
    trunk, blocks = TRUNKS[parts["known"]], parts["blocks"]
    if blocks is None:
        return trunk
    if not isinstance(trunk, Sam3Vit) or int(blocks) < 2 or int(blocks) % 2:
        raise ValueError(f"{parts['known']} cannot be made of {blocks} blocks: only variants of SAM 3 can, of an even number.")
    return replace(trunk, depth=int(blocks), global_blocks=tuple(range(1, int(blocks), 2)))


def step_of(variant: Variant) -> int:
    """The image sizes that the network takes are multiples of this, pixels: a perceiver cuts the grid into equal windows."""
    return math.lcm(trunk_of(variant).step, variant.stride * (variant.perceiver.windows if variant.perceiver else 1))


def served_name(variant: Variant) -> str:
    """The name by which servers know it: they are told the image size apart from it, and do not know the trunk."""
    return re.split("[:@]", variant.name)[0]


def commanded_name(name: str, image_size: int) -> str:
    """The name by which commands know what a server serves."""
    return name if VARIANTS[name].image_size == image_size else f"{name}@{image_size}"

"""Prompts of one frame that are more than one request takes go in several."""

from __future__ import annotations

import json
from collections.abc import Sequence

from masklet.prompts import Item

# preprocess's, as they are when nobody has set others.
MAX_PROMPTS = 32
MAX_MASK_PIXELS = 4 * 4096 * 2160  # of all masks together
MAX_PROMPT_BYTES = 2 << 20  # of JSON


def fits(items: Sequence[Item]) -> bool:
    """Whether one request takes them."""
    return _count(items) == len(items)


def split(items: Sequence[Item]) -> tuple[list[Item], list[Item]]:
    """As many of the first as one request takes, at least one; and the rest."""
    count = max(1, _count(items))
    return list(items[:count]), list(items[count:])


def _count(items: Sequence[Item]) -> int:
    pixels, nbytes = 0, 1
    for index, item in enumerate(items):
        height, width = item["mask"]["size"] if "mask" in item else (0, 0)
        pixels += height * width
        nbytes += len(json.dumps(item, separators=(",", ":"))) + 1
        if index == MAX_PROMPTS or pixels > MAX_MASK_PIXELS or nbytes > MAX_PROMPT_BYTES:
            return index
    return len(items)

"""SAM 3 with a quarter of the heads: the same structure, and a test needs a sixth of the memory and time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest

from masklet_build.models.trunks import TRUNKS, Sam3Vit


@contextmanager
def narrow_sam3() -> Iterator[None]:
    """Within it the trunk of variants of SAM 3 has 4 heads of 64 channels, as wide as the official ones, and not 16. Official weights do not fit."""
    with pytest.MonkeyPatch.context() as patch:
        for name, trunk in TRUNKS.items():
            if isinstance(trunk, Sam3Vit):
                patch.setitem(TRUNKS, name, replace(trunk, embed_dim=256, num_heads=4))
        yield

"""The count of a frame's arithmetic."""

from __future__ import annotations

import pytest

pytest.importorskip("torch")

from benchmarks.floor import ENGINES, frame_gflop
from masklet.families import NANO
from masklet_build import nano

pytestmark = pytest.mark.torch


def test_the_image_is_counted_once_and_every_object_alike() -> None:
    one, two, three = (frame_gflop(nano.CHECKPOINT, NANO, objects) for objects in (1, 2, 3))
    assert one["image_encoder"] == three["image_encoder"] > 0
    for name in ENGINES[1:]:
        assert three[name] - two[name] == pytest.approx(two[name] - one[name])
    # Two layers of memory attention: queries of 256 tokens and 128 channels, keys of 7 memories and 16 pointers of two tokens, values of 64.
    looks_at_memory = 2 * 2 * 256 * (7 * 256 + 16 * 2) * (128 + 64) / 1e9
    assert looks_at_memory < one["memory_attention"]

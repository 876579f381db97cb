"""The server's memory does not grow with the length of a video; and this test would see it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.memory_slope import after, slope, watch
from masklet import Tracker
from masklet_build.models.variants import variant
from masklet_build.repository.assemble import assemble
from masklet_build.serve import Server
from tests.serving.clips import clip
from tests.serving.small import VARIANT

pytestmark = [pytest.mark.server, pytest.mark.torch, pytest.mark.slow]  # what a video holds is counted in tests/memory_bank/test_state_size.py

OBJECTS = 24  # so many that a leak outgrows what the engines left free in the heap of their process
FRAMES = 360
SETTLED = 200  # frames; what grows later is no allocator that settles
# What the bank keeps of a tracked frame: a memory and a pointer per object.
KEPT_PER_FRAME = OBJECTS * (variant(VARIANT).memory_tokens * 64 * 2 + variant(VARIANT).hidden * 4)


def growth(server: Server) -> float:
    """Bytes per frame that a video of OBJECTS objects adds, after SETTLED frames."""
    with Tracker(server.grpc_url) as tracker, tracker.open() as video:
        for object_id in range(OBJECTS):
            video.prompt(object_id, points=[(8 + 6 * (object_id % 8), 15 + 15 * (object_id // 8))])
        seen = watch(server, video, clip(8, seed=4), FRAMES, lambda: None)
    return slope(*after(SETTLED, *seen)).per_frame


@pytest.fixture
def leaky_server(small_engines: Path, serving_python: Path, tmp_path: Path) -> Iterator[Server]:
    """A server whose memory bank forgets nothing."""
    repository = assemble(VARIANT, small_engines, tmp_path / "repository")
    file = repository / "memory_bank" / "1" / "masklet_bank" / "bank.py"
    source = file.read_text()
    assert source.count("if frame in frames}") == 1
    file.write_text(source.replace("if frame in frames}", "}"))
    with Server(repository, python=serving_python, grpc_port=0, http_port=0, metrics_port=0, exit_timeout_s=1) as server:
        yield server


def test_a_video_does_not_grow_with_its_length(small_server: Server) -> None:
    assert growth(small_server) < KEPT_PER_FRAME / 3


def test_a_bank_that_forgets_nothing_is_seen_to_grow(leaky_server: Server) -> None:
    assert growth(leaky_server) > KEPT_PER_FRAME / 2

"""The server's memory does not grow with the length of a video, and this test would see it; and refused requests leave none behind."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import tritonclient.grpc as grpc
from footprint import memory_by_process
from tritonclient.utils import InferenceServerException

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


ALLOWED = 2 * 2048 * 2048 * 3  # bytes of two of the largest messages


def own(server: Server) -> int:
    """Bytes of Triton's own process."""
    return memory_by_process(server.pid)[f"tritonserver ({server.pid})"]


def refused(url: str, seed: int, sides: Sequence[int] = (16, 256, 700, 2048)) -> None:
    """25 pictures for the encoder, which takes none: its other input is missing."""
    rng = random.Random(seed)
    with grpc.InferenceServerClient(url) as client:
        for _ in range(25):
            side = rng.choice(sides)
            image = grpc.InferInput("IMAGE", [1, side, side, 3], "UINT8").set_data_from_numpy(np.zeros((1, side, side, 3), np.uint8))
            with pytest.raises(InferenceServerException, match="expected 2 inputs"):
                client.infer("image_encoder", [image], sequence_id=1)


def test_large_requests_that_are_refused_leave_nothing_in_tritons_process(small_server: Server) -> None:
    """By itself Triton keeps eight requests for the next ones, with their messages, and glibc the room that others leave: some 200 MB."""
    with ThreadPoolExecutor(4) as clients:
        list(clients.map(lambda seed: refused(small_server.grpc_url, seed, [16]), range(4)))  # what Triton needs once
        before = own(small_server)
        list(clients.map(lambda seed: refused(small_server.grpc_url, seed), range(16)))
    deadline = time.monotonic() + 60
    while own(small_server) - before >= ALLOWED and time.monotonic() < deadline:
        time.sleep(0.1)  # it lets go of a request only when its connection has ended
    assert own(small_server) - before < ALLOWED

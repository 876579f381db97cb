"""The embedded target on PyTorch: through the real server the same masks as OpenVINO's, and all that a bank does with its state."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from masklet import TrackedFrame, Tracker, Video
from masklet.families import NANO
from masklet_build import nano
from masklet_build.clips import bounding_box, inner_point, make_clip
from masklet_build.export.onnx_export import CHECKED_SIZES
from masklet_build.export.programs import export_programs
from masklet_build.repository.assemble import assemble
from masklet_build.serve import ServeError, Server
from tests.serving.agreement import all_equal, assert_close
from tests.serving.beside_torch import environment_with_torch
from tests.serving.scraping import eventually

pytestmark = [pytest.mark.server, pytest.mark.torch]

PORTS = {"grpc_port": 0, "http_port": 0, "metrics_port": 0, "exit_timeout_s": 1}
CLIP = make_clip("test", 1, frames=18, height=256, width=256, objects=3)  # memories are full at frame 7, pointers at 16
EXECUTIONS = 'stage_seconds_count{stage="memory_encoder"}'  # told after what was copied
COPIED = 'bank_copied_bytes_total{direction="%s"}'


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Programs of nano."""
    folder = tmp_path_factory.mktemp("programs") / "nano"
    export_programs(NANO, nano.CHECKPOINT, folder, sizes=CHECKED_SIZES[:1])  # masks are compared below
    return folder


@pytest.fixture(scope="module")
def with_torch(serving_python: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Interpreter of a serving environment with torch."""
    return environment_with_torch(serving_python, tmp_path_factory.mktemp("environment"))


# Servers that do not start: before those that stay for the rest of the module.


def test_without_torch_the_server_says_what_to_install(programs: Path, serving_python: Path, tmp_path: Path) -> None:
    repository = assemble(NANO.name, programs, tmp_path / "repository", runtime="torch")
    with pytest.raises(ServeError, match=r"package 'torch' is not installed in Triton's python environment\. Install it there: pip install torch"):
        Server(repository, python=serving_python, **PORTS).__enter__()


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there_is_named(programs: Path, with_torch: Path, tmp_path: Path) -> None:
    repository = assemble(NANO.name, programs, tmp_path / "repository", runtime="torch", device="cuda")
    with pytest.raises(ServeError, match=r"device 'cuda', but torch .* sees 0 GPUs"):
        Server(repository, python=with_torch, **PORTS).__enter__()


def prompt(video: Video, object_id: int, frame: int) -> None:
    """The first object by a click, the second by a box, the third by its mask."""
    mask = CLIP.masks[frame][object_id - 1]
    if object_id == 1:
        video.prompt(1, points=[inner_point(mask)])
    elif object_id == 2:
        video.prompt(2, box=bounding_box(mask))
    else:
        video.prompt(3, mask=mask)


def life(tracker: Tracker) -> list[TrackedFrame]:
    """A video in which objects come, are corrected and prompted again."""
    results = []
    with tracker.open() as video:
        for index, frame in enumerate(CLIP.frames):
            for object_id, prompted in ((1, (0, 10)), (2, (0,)), (3, (4,))):
                if index in prompted:
                    prompt(video, object_id, index)
            results.append(video.track(frame, logits=True))
            if index == 8:
                video.prompt(2, points=[inner_point(CLIP.masks[index][1])], append=True)
                results.append(video.track(frame, logits=True, refine=True))
    return results


ON_GPU = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")]


@pytest.fixture(scope="module")
def of_openvino(serving_python: Path, tmp_path_factory: pytest.TempPathFactory) -> list[TrackedFrame]:
    """What a server on OpenVINO answered, which is gone."""
    repository = assemble(NANO.name, nano.ENGINES, tmp_path_factory.mktemp("openvino") / "repository")
    with Server(repository, python=serving_python, **PORTS) as server, Tracker(server.grpc_url) as tracker:
        return life(tracker)


@pytest.fixture(scope="module", params=["cpu", pytest.param("cuda", marks=ON_GPU)])
def server(
    programs: Path, with_torch: Path, of_openvino: list[TrackedFrame], tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Iterator[Server]:
    """Nano on PyTorch. It begins when the other server has ended: both together take much memory."""
    repository = assemble(NANO.name, programs, tmp_path_factory.mktemp("torch") / "repository", runtime="torch", device=request.param)
    with Server(repository, python=with_torch, **PORTS) as server:
        yield server


def test_pytorch_gives_the_masks_that_openvino_gives(server: Server, of_openvino: list[TrackedFrame]) -> None:
    with Tracker(server.grpc_url) as tracker:
        answers = life(tracker)
    assert sum(result.masks.any(axis=(1, 2)).sum() for result in answers) > 30
    for one, other in zip(answers, of_openvino, strict=True):
        assert_close(one, other)


def test_a_video_moves_from_one_runtime_to_its_like_and_goes_on_bit_for_bit(server: Server) -> None:
    with Tracker(server.grpc_url) as tracker, tracker.open() as video:
        prompt(video, 1, 0)
        prompt(video, 2, 0)
        for frame in CLIP.frames[:5]:
            video.track(frame)
        with tracker.open(state=video.snapshot()) as moved:
            pairs = [(video.track(frame, logits=True), moved.track(frame, logits=True)) for frame in CLIP.frames[5:10]]
    assert all_equal([one for one, _ in pairs], [other for _, other in pairs])


def test_what_crosses_to_the_device_and_back_does_not_grow_with_memory(server: Server) -> None:
    """On a CPU nothing crosses really; the bank counts what it asks for, the same on every device."""
    counts = []
    before = eventually(server, lambda numbers: True).get(EXECUTIONS, 0)
    with Tracker(server.grpc_url) as tracker, tracker.open() as video:
        prompt(video, 1, 0)
        for number, frame in enumerate(CLIP.frames, 1):
            video.track(frame)
            numbers = eventually(server, lambda numbers, goal=before + number: numbers.get(EXECUTIONS, 0) >= goal)
            counts.append([numbers[COPIED % direction] for direction in ("to_device", "to_host")])
    to_device, to_host = np.diff(counts, axis=0).T
    features, low = 4 * NANO.hidden * NANO.grid**2, 4 * NANO.low_size**2
    assert np.ptp(to_host) == 0
    assert low < to_host[0] < low + 50, "the logits of the answer, and a few numbers"
    assert (features < to_device).all()
    assert (to_device < features + 500).all(), "numbers that describe the calls: at most one for each memory and pointer"
    assert np.ptp(to_device[15:]) == 0


def test_the_log_says_where_engines_run_and_no_graph_failed(server: Server) -> None:
    """After the tests above, whose shapes came often enough to be recorded on a GPU."""
    log = server.log_text()
    assert "image_encoder: torch on c" in log
    assert "engines of memory_bank: torch on c" in log
    assert "no CUDA graph" not in log

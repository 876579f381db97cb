"""The embedded target on TensorRT for RTX: a real server that says what it needs where there is no GPU; and on one, the masks of OpenVINO."""

from __future__ import annotations

import ctypes
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

pytest.importorskip("tensorrt_rtx_bindings")

from masklet import Tracker
from masklet.families import NANO
from masklet_build import nano
from masklet_build.clips import bounding_box, inner_point, make_clip
from masklet_build.repository.assemble import assemble
from masklet_build.serve import Server
from tests.serving.agreement import assert_close

pytestmark = [pytest.mark.server]

PORTS = {"grpc_port": 0, "http_port": 0, "metrics_port": 0, "exit_timeout_s": 1}


def _driver_is_here() -> bool:
    try:
        ctypes.CDLL("libcuda.so.1")
    except OSError:
        return False
    return True


WITHOUT_GPU = pytest.mark.skipif(_driver_is_here(), reason="there is a driver")
ON_GPU = [pytest.mark.gpu, pytest.mark.skipif(not _driver_is_here(), reason="no GPU")]


@pytest.fixture(scope="module")
def plans(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Nano, built by NVIDIA's compiler."""
    folder = tmp_path_factory.mktemp("plans") / "nano"
    subprocess.run([sys.executable, "-m", "masklet_build", "engine", "nano", "--rtx", "--objects", "3", "--videos", "2", "--out", folder], check=True)
    return folder


@pytest.fixture(scope="module")
def repository(plans: Path) -> Path:
    return assemble(NANO.name, plans, plans.with_name("repository"), runtime="tensorrt-rtx")


@WITHOUT_GPU
def test_without_a_driver_serve_says_so_once_and_stops(repository: Path, serving_python: Path) -> None:
    """It does not try again: nothing would be better the next time."""
    ports = [word for name in ("grpc", "http", "metrics") for word in (f"--{name}-port", "0")]
    command = [sys.executable, "-m", "masklet_build", "serve", str(repository), "--python", str(serving_python), *ports]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 1, done.stderr
    for model in ("image_encoder", "memory_bank"):
        assert f"model '{model}' failed to load" in done.stderr
    assert "TensorRT for RTX finds no GPU: libcuda.so.1 cannot be loaded" in done.stderr
    assert "Without one: masklet-build assemble ... --runtime openvino" in done.stderr
    assert "restarting" not in done.stdout
    assert not repository.with_name("repository.kernels").exists()


@pytest.fixture(scope="module")
def servers(repository: Path, serving_python: Path) -> Iterator[dict[str, Server]]:
    """Nano on TensorRT for RTX, and on OpenVINO on the CPU. The serving environment has what docker/tensorrt.md tells to install."""
    openvino = assemble(NANO.name, nano.ENGINES, repository.with_name("openvino"))
    with ExitStack() as stack:
        yield {
            name: stack.enter_context(Server(folder, python=serving_python, **PORTS))
            for name, folder in (("rtx", repository), ("openvino", openvino))
        }


def tracked(url: str) -> list:
    clip = make_clip("test", 1, frames=18, height=256, width=256, objects=3)
    with Tracker(url) as tracker, tracker.open() as video:
        video.prompt(1, points=[inner_point(clip.masks[0][0])])
        video.prompt(2, box=bounding_box(clip.masks[0][1]))
        results = []
        for index, frame in enumerate(clip.frames):
            if index in (4, 9):
                video.prompt(3, mask=clip.masks[index][2])
            results.append(video.track(frame, logits=True))
        return results


class TestOnGpu:
    """python -m pytest -m gpu tests/serving/test_rtx_runtime.py"""

    pytestmark = ON_GPU

    def test_masks_are_those_of_openvino(self, servers: dict[str, Server]) -> None:
        answers = {name: tracked(server.grpc_url) for name, server in servers.items()}
        assert sum(result.masks.any(axis=(1, 2)).sum() for result in answers["rtx"]) > 30
        for one, other in zip(answers["rtx"], answers["openvino"], strict=True):
            assert_close(one, other)

    def test_the_log_says_what_was_compiled_and_kernels_are_kept(self, servers: dict[str, Server], repository: Path) -> None:
        log = servers["rtx"].log_text()
        for name in ("image_encoder", "mask_prompt", "memory_attention", "mask_decoder", "memory_encoder"):
            assert f"{name}: compiling kernels for NVIDIA" in log
        assert len(list(repository.with_name("repository.kernels").iterdir())) == 5

    def test_a_second_start_takes_the_kernels_that_were_kept(self, servers: dict[str, Server], repository: Path, serving_python: Path) -> None:
        with Server(repository, python=serving_python, **PORTS) as again:
            assert "none were kept" not in again.log_text()
            assert tracked(again.grpc_url)

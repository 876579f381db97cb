"""The embedded target on TensorRT for RTX: a real server that says what it needs where there is no GPU; and on one, the masks of OpenVINO."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from importlib.util import find_spec
from pathlib import Path

import pytest

pytest.importorskip("tensorrt_rtx_bindings")

import tests.fakes
from masklet import Tracker, contract
from masklet.families import NANO
from masklet_build import nano
from masklet_build.clips import bounding_box, inner_point, make_clip
from masklet_build.export.profiles import Limits
from masklet_build.repository.assemble import assemble
from masklet_build.serve import Server
from masklet_build.serve import log as triton_log
from tests.fakes import device_module, dlpack, rtx_world, strict
from tests.fakes.rtx_world import plans_of_nano
from tests.plans.stubs import compile_driver
from tests.serving.agreement import assert_close

pytestmark = [pytest.mark.server]

ENGINES = tuple(model.name for model in contract.engines(NANO))
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


PLANT = """
import json, os
for folder in {paths!r}:
    sys.path.append(folder)
from masklet_build.embedded.shapes import Shapes
from tests.fakes.rtx_world import World

class Planted:
    setattr = staticmethod(setattr)
    def setitem(self, where, name, value): where[name] = value
    def delitem(self, where, name, raising): where.pop(name, None)

record = next(folder / "plans.json" for folder in (Path(__file__).parent / "engines", Path(__file__).parent) if (folder / "plans.json").exists())
tables = {{
    name: [{{tensor: Shapes(*map(tuple, shapes)) for tensor, shapes in profile["inputs"].items()}} for profile in engine["profiles"]]
    for name, engine in json.loads(record.read_text())["engines"].items()
}}
World(tables, Path({onnx!r})).install(Planted(), Path({driver!r}))
"""


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository whose models find a driver, cupy and TensorRT for RTX, of which only NVIDIA's classes are real (tests/fakes/rtx_world.py)."""
    folder = tmp_path_factory.mktemp("planted")
    repository = assemble(NANO.name, plans_of_nano(folder / "plans", Limits(2, 3)), folder / "repository", runtime="tensorrt-rtx")
    packages = folder / "packages"
    packages.mkdir()
    for name in ("tensorrt_rtx_bindings", "tensorrt_rtx_libs"):
        (packages / name).symlink_to(Path(find_spec(name).origin).parent)
    fakes = packages / "tests" / "fakes"
    fakes.mkdir(parents=True)
    for module in (tests, tests.fakes, device_module, dlpack, rtx_world, strict):
        shutil.copyfile(module.__file__, packages / Path(module.__file__).relative_to(Path(tests.__file__).parents[1]))
    plant = PLANT.format(paths=[str(packages)], onnx=str(nano.ENGINES), driver=str(compile_driver(folder)))
    for model in ("image_encoder", "memory_bank"):
        file = repository / model / "1" / "model.py"
        first, mark, rest = file.read_text().partition("sys.path.insert(0, str(Path(__file__).parent))\n")
        file.write_text(first + mark + plant + rest)
    return repository


@pytest.mark.torch  # not in the quick run
def test_a_real_server_tracks_through_the_runner_and_keeps_kernels(planted: Path, serving_python: Path, tmp_path: Path) -> None:
    """What was vendored is all that it needs, under numpy 1, in Triton's processes; the masks are those of the same engines without it."""
    plain = assemble(NANO.name, nano.ENGINES, tmp_path / "plain", runtime="onnxruntime", settings={"memory_bank.max_engine_batch": "3"})
    with Server(planted, python=serving_python, **PORTS) as server, Server(plain, python=serving_python, **PORTS) as other:
        found, expected, log = tracked(server.grpc_url), tracked(other.grpc_url), server.log_text()
    assert sum(result.masks.any(axis=(1, 2)).sum() for result in expected) > 30
    for one, wanted in zip(found, expected, strict=True):
        assert_close(one, wanted)
    assert 'image_encoder: tensorrt-rtx on cuda:0, Stub GPU"' in log
    assert 'engines of memory_bank: tensorrt-rtx on cuda:0, Stub GPU"' in log
    said = [told for line in log.splitlines() if (told := triton_log.progress(line))]
    assert {line.split(" after ")[0] for line in said} == {
        *(f"{name}: compiling kernels for Stub GPU; none were kept, so this takes longest" for name in ENGINES),
        *(f"{name}: ready for Stub GPU" for name in ENGINES),
    }
    assert len(list(planted.with_name("repository.kernels").iterdir())) == len(ENGINES)
    with Server(planted, python=serving_python, **PORTS) as again:
        assert again.log_text().count("KiB of them were kept") == len(ENGINES)


@pytest.fixture(scope="module")
def servers(repository: Path, serving_python: Path) -> Iterator[dict[str, Server]]:
    """Nano on TensorRT for RTX, and on OpenVINO on the CPU. The serving environment has what build/gpu.md tells to install."""
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
        for name in ENGINES:
            assert f"{name}: compiling kernels for NVIDIA" in log
        assert len(list(repository.with_name("repository.kernels").iterdir())) == 5

    def test_a_second_start_takes_the_kernels_that_were_kept(self, servers: dict[str, Server], repository: Path, serving_python: Path) -> None:
        with Server(repository, python=serving_python, **PORTS) as again:
            assert "none were kept" not in again.log_text()
            assert tracked(again.grpc_url)

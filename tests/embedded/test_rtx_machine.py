"""Where engines of TensorRT for RTX cannot run it is said why and what to take instead, before anything of NVIDIA's is imported."""

from __future__ import annotations

import json
import sys
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import pytest

from masklet_build.embedded import gpu, rtx_machine
from masklet_build.embedded.engine import Engine
from masklet_build.embedded.rtx_machine import admitted, device_index

VERSION = "1.7.1.116"
INSTALLED = {"tensorrt-rtx-cu13-bindings": VERSION, "cupy-cuda13x": "13.6.0"}


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Packages of the environment, to be changed by a test."""
    there = dict(INSTALLED)

    def version(package: str) -> str:
        if package not in there:
            raise PackageNotFoundError(package)
        return there[package]

    monkeypatch.setattr(rtx_machine, "version", version)
    return there


@pytest.fixture
def engines(driver: Path, tmp_path: Path, installed: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of engines for RTX 30 and 40, on a machine with a driver."""
    monkeypatch.setattr(gpu, "LIBRARY", str(driver))
    machine = {"compiler": "tensorrt-rtx", "version": VERSION, "gpu": "", "targets": ["8.6", "8.9"], "driver": ""}
    (tmp_path / "plans.json").write_text(json.dumps({"machine": machine}))
    (tmp_path / "mask_prompt.plan").write_bytes(b"plan")
    return tmp_path


def started(engines: Path, device: str = "auto") -> Engine:
    parameters = {"runtime": "tensorrt-rtx", "precision": "fp32", "threads": "0", "device": device}
    return Engine(engines / "mask_prompt", parameters, [])


@pytest.fixture(autouse=True)
def nothing_of_nvidia(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("cupy", "tensorrt_rtx_bindings", "masklet_build.embedded.rtx_runner", "masklet_build.embedded.rtx_engine"):
        monkeypatch.setitem(sys.modules, name, None)


def test_a_gpu_that_the_engines_were_built_for_is_taken(engines: Path) -> None:
    found = admitted(engines, 0)
    assert (found.index, found.name, found.compute_capability, found.driver) == (0, "Stub GPU", "8.9", "13.4")


def test_without_a_driver_it_is_said_what_is_needed(engines: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu, "LIBRARY", "libcuda_of_nobody.so.1")
    with pytest.raises(ValueError, match=r"finds no GPU: libcuda_of_nobody.*needs an NVIDIA GPU and its driver.*--runtime openvino"):
        started(engines)


def test_a_gpu_that_is_not_there_is_told_from_those_that_are(engines: Path) -> None:
    with pytest.raises(ValueError, match=r"GPU 1 is not there: the driver sees 1, counted from 0\. Look at nvidia-smi"):
        started(engines, "cuda:1")


@pytest.mark.parametrize(
    ("capability", "name"), [("90", "NVIDIA H100 PCIe"), ("100", "NVIDIA B200"), ("103", "NVIDIA B300"), ("75", "Tesla T4"), ("61", "GTX 1080")]
)
def test_a_gpu_that_is_no_target_is_refused_with_what_to_take(engines: Path, monkeypatch: pytest.MonkeyPatch, capability: str, name: str) -> None:
    monkeypatch.setenv("STUB_CAPABILITY", capability)
    monkeypatch.setenv("STUB_NAME", name)
    said = f"{name} has compute capability {capability[:-1]}.{capability[-1]}, which is no target of TensorRT for RTX"
    with pytest.raises(
        ValueError, match=rf"{said}.*Take TensorRT \(docker/tensorrt\.md\), or PyTorch: masklet-build export --for torch.*--runtime torch"
    ):
        started(engines)


@pytest.mark.parametrize("capability", ["80", "120", "121"])
def test_a_target_that_the_engines_were_not_built_for_is_refused_with_the_command(
    engines: Path, monkeypatch: pytest.MonkeyPatch, capability: str
) -> None:
    monkeypatch.setenv("STUB_CAPABILITY", capability)
    with pytest.raises(
        ValueError, match=rf"engines were built for 8\.6, 8\.9\. Build again.*masklet-build engine VARIANT --rtx --sm 86,89,{capability}$"
    ):
        started(engines)


def test_a_driver_of_an_older_cuda_is_refused(engines: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STUB_DRIVER", "12090")
    with pytest.raises(ValueError, match=r"the driver supports CUDA 12\.9, and the engines need 13\.0\. Install a driver of R580"):
        started(engines)


@pytest.mark.parametrize("package", INSTALLED)
def test_a_missing_package_is_told_with_the_whole_command(engines: Path, installed: dict[str, str], package: str) -> None:
    """cupy below 14: that one wants numpy 2, which Triton's python backend cannot take."""
    del installed[package]
    with pytest.raises(ValueError, match=f"package '{package}' is not installed") as caught:
        started(engines)
    command = (
        f"pip install tensorrt-rtx-cu13-libs=={VERSION} tensorrt-rtx-cu13-bindings=={VERSION} cupy-cuda13x==13.6.0 "
        '"nvidia-cuda-nvrtc==13.0.*" "nvidia-cuda-runtime==13.0.*"'
    )
    assert command in str(caught.value)


def test_another_version_than_that_of_the_engines_is_refused(engines: Path, installed: dict[str, str]) -> None:
    installed["tensorrt-rtx-cu13-bindings"] = "1.6.1.120"
    with pytest.raises(
        ValueError, match=r"built by TensorRT for RTX 1\.7\.1\.116, and 1\.6\.1\.120 is installed.*bindings==1\.7\.1\.116.*or build again"
    ):
        started(engines)


@pytest.mark.parametrize("record", [None, "{", "{}", '{"machine": []}', '{"machine": {"version": "1"}}'])
def test_a_record_that_says_nothing_is_named(engines: Path, record: str | None) -> None:
    (engines / "plans.json").unlink()
    if record is not None:
        (engines / "plans.json").write_text(record)
    with pytest.raises(ValueError, match=r"plans\.json, which says what the engines were built for, cannot be read.*Assemble"):
        started(engines)


@pytest.mark.parametrize(("name", "index"), [("auto", 0), ("cuda", 0), ("cuda:0", 0), ("cuda:3", 3)])
def test_a_device_is_named_as_for_pytorch(name: str, index: int) -> None:
    assert device_index(name) == index


@pytest.mark.parametrize("name", ["cpu", "gpu", "cuda:", "", "CUDA", "cuda:x"])
def test_a_device_that_is_none_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=r"runs on GPUs alone\. Use auto, cuda, or cuda:1"):
        device_index(name)

"""The GPU through its driver's library; here through a library that stands in for it, with the driver's own signatures."""

from __future__ import annotations

import ctypes
from pathlib import Path

import numpy as np
import pytest

from masklet_build.embedded import gpu as module
from masklet_build.engines.device import Device, DeviceError
from tests.plans.stubs import compile_driver


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return compile_driver(tmp_path_factory.mktemp("driver"))


@pytest.fixture
def device(driver: Path, monkeypatch: pytest.MonkeyPatch) -> Device:
    monkeypatch.setattr(module, "LIBRARY", str(driver))
    return Device()


def test_the_gpu_is_told_by_name_capability_and_driver(device: Device) -> None:
    assert (device.name, device.compute_capability, device.driver) == ("Stub GPU", "8.9", "13.4")


def test_what_is_copied_to_the_gpu_comes_back_when_the_stream_is_done(device: Device) -> None:
    device.use()
    stream = device.stream()
    sent, got = np.arange(1000, dtype=np.float32), np.zeros(1000, np.float32)
    address = device.allocate(sent.nbytes)
    assert address > 1 << 32, "else this test does not see addresses that are cut to 32 bits"
    device.upload(sent, address, stream)
    device.download(address, got, stream)
    device.wait(stream)
    assert np.array_equal(sent, got)
    device.free(address)


def test_memory_that_is_freed_is_given_back(device: Device, driver: Path) -> None:
    device.use()
    live = ctypes.CDLL(str(driver)).live_allocations
    before = live()
    address = device.allocate(16)
    assert live() == before + 1
    device.free(address)
    assert live() == before


def test_a_failure_is_told_in_the_drivers_words(device: Device) -> None:
    device.use()
    with pytest.raises(DeviceError, match=r"cuMemAlloc_v2 failed: out of memory \(2\)"):
        device.allocate(1 << 40)


def test_a_machine_without_a_gpu_is_told_so(driver: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LIBRARY", str(driver))
    monkeypatch.setenv("STUB_NO_DEVICE", "1")
    with pytest.raises(DeviceError, match=r"no CUDA-capable device is detected \(100\)\. Look at nvidia-smi"):
        Device()


def test_a_machine_without_a_driver_is_told_what_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LIBRARY", "libcuda_of_nobody.so.1")
    with pytest.raises(DeviceError, match=r"NVIDIA GPU and its driver.*--gpus all"):
        Device()

"""Tests that drive a whole bank run twice: with its arrays on the host, and on a device that gives nothing away by itself."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext

import pytest

from masklet_bank.arrays import DeviceArrays, HostArrays
from tests.fakes.bank_driver import home, service
from tests.fakes.device_module import Module

HOMES = {"host": HostArrays, "device": lambda: DeviceArrays(Module())}


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if getattr(metafunc.module, "service", None) is service:
        metafunc.parametrize("arrays_home", HOMES, indirect=True)


@pytest.fixture(autouse=True)
def arrays_home(request: pytest.FixtureRequest) -> Iterator[None]:
    with home(HOMES[request.param]) if hasattr(request, "param") else nullcontext():
        yield

"""Fixtures that several folders of tests share."""

from __future__ import annotations

import asyncio
import ctypes
import gc
import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import benchmarks  # noqa: F401  # what the tests start is on this machine as well: no proxy stands before it
from masklet import AsyncTracker, Tracker
from tests.fakes.blocking import Blocking
from tests.peak_memory import PeakMemory


def pytest_configure(config: pytest.Config) -> None:
    """With workers: tells the memory that all take, and gives each as many threads as there are CPUs for it.

    A run in the background ignores Ctrl-C, and so would the processes that tests start and send it to.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if config.getoption("numprocesses", None):
        config.pluginmanager.register(PeakMemory(os.getpid()))
    elif workers := os.environ.get("PYTEST_XDIST_WORKER_COUNT"):
        os.environ.setdefault("OMP_NUM_THREADS", str(max(1, len(os.sched_getaffinity(0)) // int(workers))))  # torch reads it when it is imported


@pytest.fixture(scope="module", autouse=True)
def memory_is_given_back() -> Iterator[None]:
    """What the networks of a module leave in the heap goes back to the system: a worker runs many modules, and two of them at a time."""
    yield
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)


@pytest.fixture(scope="session")
def serving_python() -> Path:
    """Interpreter of the serving environment: the tests run beside torch and numpy 2, the server cannot."""
    return Path(os.environ.get("MASKLET_SERVING_PYTHON", sys.executable))


@pytest.fixture(params=["sync", "asyncio"])
def make_tracker(request: pytest.FixtureRequest) -> Iterator[Callable[..., Any]]:
    """Tracker, or AsyncTracker with blocking methods."""
    if request.param == "sync":
        yield Tracker
        return
    loop = asyncio.new_event_loop()

    async def made(*args: Any, **kwargs: Any) -> AsyncTracker:  # inside the loop, as users make it
        return AsyncTracker(*args, **kwargs)

    yield lambda *args, **kwargs: Blocking(loop, loop.run_until_complete(made(*args, **kwargs)))
    loop.run_until_complete(loop.shutdown_asyncgens())
    loop.close()

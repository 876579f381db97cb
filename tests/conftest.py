"""Fixtures that several folders of tests share."""

from __future__ import annotations

import asyncio
import ctypes
import gc
import os
import re
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

TORCH_MODULE = re.compile(r"^pytestmark = .*\bpytest\.mark\.torch\b", re.MULTILINE)


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


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """What has no test that -m asks for is not imported: with torch and the rest that is most of a gigabyte in every worker."""
    modules = sorted(collection_path.rglob("test_*.py")) if collection_path.is_dir() else [collection_path]
    asked = config.option.markexpr
    needless = bool(modules) and " or " not in asked and all(_needless(module, asked) for module in modules if module.suffix == ".py")
    return True if needless else None


def _needless(module: Path, asked: str) -> bool:
    if not module.name.startswith("test_"):
        return False
    text = module.read_text()
    if "not torch" in asked and TORCH_MODULE.search(text):
        return True
    return bool(re.search(r"(?<!not )\bserver\b", asked)) and "mark.server" not in text


@pytest.hookimpl(tryfirst=True)  # before -m
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Raises UsageError where `_needless` would overlook a test."""
    marked = {item.path for item in items if item.get_closest_marker("server")}
    if hidden := [str(path) for path in sorted(marked) if "mark.server" not in path.read_text()]:
        raise pytest.UsageError(f"tests are marked as those of a server without the words mark.server in their module: {', '.join(hidden)}")


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

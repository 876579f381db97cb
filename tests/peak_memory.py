"""How much memory a parallel test run took: its processes, and the servers and programs that they started, together."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

EVERY_S = 1.0


def tree(pid: int) -> list[int]:
    """The ids of a process and all its descendants."""
    found = [pid]
    for parent in found:
        for task in _read(Path(f"/proc/{parent}/task"), listing=True).split():
            found += [int(child) for child in _read(Path(f"/proc/{parent}/task/{task}/children")).split()]
    return found


def used_bytes(pid: int) -> int:
    """Of a process and its descendants; what several share counts once (proportional set sizes)."""
    sizes = [line.split()[1] for one in tree(pid) for line in _read(Path(f"/proc/{one}/smaps_rollup")).splitlines() if line.startswith("Pss:")]
    return 1024 * sum(map(int, sizes))


def _read(path: Path, *, listing: bool = False) -> str:
    """Nothing for a process that has ended meanwhile."""
    try:
        return " ".join(entry.name for entry in path.iterdir()) if listing else path.read_text()
    except OSError:
        return ""


class PeakMemory:
    """A pytest plugin for the process that hands tests to workers, in which no test runs: a thread disturbs none."""

    def __init__(self, pid: int) -> None:
        self.peak, self.during = 0, ""
        self._running: set[str] = set()
        self._pid, self._end = pid, threading.Event()
        self._thread = threading.Thread(target=self._watch, name="peak memory", daemon=True)

    def pytest_sessionstart(self) -> None:
        self._thread.start()

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        self._running = self._running | {nodeid}

    def pytest_runtest_logfinish(self, nodeid: str) -> None:
        self._running = self._running - {nodeid}

    def pytest_sessionfinish(self) -> None:
        self._end.set()
        self._thread.join()

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        terminalreporter.write_line(f"peak memory of the test run, servers included: {self.peak / 1e9:.2f} GB, during {self.during}")

    def _watch(self) -> None:
        while True:
            used = used_bytes(self._pid)
            if used > self.peak:
                self.peak, self.during = used, " and ".join(sorted(self._running))
            if self._end.wait(EVERY_S):
                return

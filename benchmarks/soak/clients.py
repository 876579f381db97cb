"""The processes of clients: started, listened to, killed and replaced."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import asdict, replace

from benchmarks import ROOT
from benchmarks.soak.client import Plan
from benchmarks.soak.record import Record
from benchmarks.supervised import close, signalled

_PATIENCE_S = 120.0  # for the last answer of every video
LASTING = ("threads", "asyncio")  # processes that live as long as the run
_DOOMED = "threads"  # of the process that may be killed


class Process:
    """One process; its name is told to the record with every event."""

    def __init__(self, name: str, plan: Plan, record: Record) -> None:
        self.name, self._record = name, record
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.soak.client", json.dumps(asdict(plan))],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()

    @property
    def pid(self) -> int:
        """Its process id, which is that of its session too."""
        return self._process.pid

    def kill(self) -> None:
        """Ends it without warning. Returns when all that it had said is heard."""
        signalled(self.pid, signal.SIGKILL)
        self._process.wait()
        close(self._process)
        self._listener.join()
        self._record.killed(self.name, time.time())

    def ask_to_end(self) -> None:
        """No more frames are sent."""
        close(self._process)

    def join(self, deadline: float) -> None:
        """Waits for its end; kills it at the deadline (`time.monotonic()`), and tells that. A process that ended by itself before is told too."""
        try:
            code = self._process.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            self._record.broken.append(f"{self.name} was not at its end {_PATIENCE_S:g} s after it was told to")
            self.kill()
            return
        self._listener.join()
        if code:
            self._record.broken.append(f"{self.name} ended by itself, exit code {code}; what it said is above")
            self._record.killed(self.name, time.time())

    def _listen(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line.endswith("\n"):  # else it was killed while it spoke
                self._record.hear(self.name, json.loads(line))
        self._process.stdout.close()


class Clients:
    """Two processes that last, one for each way to use the client, and one that faults may kill. A context manager."""

    def __init__(self, plan: Plan, videos: int, record: Record) -> None:
        shares = [(videos + part) // 3 for part in (2, 1, 0)]
        self._record, self._number = record, 0
        plans = [
            replace(plan, way=way, videos=max(1, share), seed=f"{plan.seed} {place}")
            for place, (way, share) in enumerate(zip((*LASTING, _DOOMED), shares, strict=True))
        ]
        self._doomed_plan = plans[-1]
        self.lasting = [Process(way, each, record) for way, each in zip(LASTING, plans, strict=False)]
        self._doomed = self._new()

    def __enter__(self) -> Clients:
        return self

    def __exit__(self, *error: object) -> None:
        for process in self._all():
            process.ask_to_end()
        deadline = time.monotonic() + _PATIENCE_S
        for process in self._all():
            process.join(deadline)

    def kill_one(self) -> str:
        """Kills the doomed process; another one takes its place. Its name."""
        killed = self._doomed
        killed.kill()
        self._doomed = self._new()
        return killed.name

    def _new(self) -> Process:
        self._number += 1
        return Process(f"doomed {self._number}", replace(self._doomed_plan, seed=f"{self._doomed_plan.seed} {self._number}"), self._record)

    def _all(self) -> Sequence[Process]:
        return [*self.lasting, self._doomed]

"""Removes what a server leaves behind: processes, shared memory and its run folder.

Also a small program, the guardian: it sleeps until its standard input closes, which happens when the process that owns the server ends in
whatever way, SIGKILL included, and then cleans up. It is run by path and imports the standard library only.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import sys
import time
from pathlib import Path

SHARED_MEMORY = Path("/dev/shm")


def live_processes(session: int) -> list[int]:
    """Processes of a session (the one that `start_new_session` makes has the pid of its first process), zombies left out."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):  # it ended while we looked
                # "pid (name) state parent group session ...", and a name may contain anything
                state, _, _, of_session = (entry / "stat").read_text().rpartition(")")[2].split()[:4]
                if int(of_session) == session and state not in "ZX":
                    found.append(int(entry.name))
    return found


def shared_memory_regions(prefix: str) -> list[Path]:
    """Shared memory of the server whose `shm-region-prefix-name` is `prefix`."""
    return sorted(SHARED_MEMORY.glob(f"{prefix}*"))


def clean_up(session: int, prefix: str, run_dir: Path, patience_s: float = 10.0) -> None:
    """Kills the session's processes and waits until they are gone, then removes shared memory and run folder. May be called twice."""
    deadline = time.monotonic() + patience_s
    while (pids := live_processes(session)) and time.monotonic() < deadline:
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.02)
    for region in shared_memory_regions(prefix):
        region.unlink(missing_ok=True)
    shutil.rmtree(run_dir, ignore_errors=True)


def _guard() -> None:
    task = json.loads(sys.stdin.readline())
    sys.stdin.read()  # until the owner closes it or dies
    clean_up(task["session"], task["prefix"], Path(task["run_dir"]))


if __name__ == "__main__":
    _guard()

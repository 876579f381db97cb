"""The figure of memory at the end of a test run is that of all its processes."""

from __future__ import annotations

import subprocess
import sys

from tests.peak_memory import used_bytes

HELD = 100_000_000
CHILD = f"held = bytearray({HELD}); held[::4096] = bytes(len(held[::4096])); print(flush=True); input()"
PARENT = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {CHILD!r}])"


def test_what_a_grandchild_holds_counts_and_what_has_ended_does_not() -> None:
    with subprocess.Popen([sys.executable, "-c", PARENT], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        process.stdout.readline()
        held = used_bytes(process.pid)
        process.stdin.close()
        process.wait()
    assert HELD < held < 1.6 * HELD
    assert used_bytes(process.pid) == 0

"""How many cores this process can keep busy."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath


def usable_cores(membership: Path = Path("/proc/self/cgroup"), hierarchy: Path = Path("/sys/fs/cgroup")) -> int:
    """The cores that this process may run on, but no more than the whole ones that its cgroup's CPU quota pays for, as in containers with a limit.

    With more threads the quota of a period is used up before its end, and then all of them are stopped.
    """
    return max(1, int(min([len(os.sched_getaffinity(0)), *_quotas(membership, hierarchy)])))


def _quotas(membership: Path, hierarchy: Path) -> Iterator[float]:
    """The quotas, in cores, of the process's cgroup and all above it; of cgroup 2 and 1."""
    try:
        lines = membership.read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers and "cpu" not in controllers.split(","):
            continue
        for group in (PurePosixPath(path), *PurePosixPath(path).parents):  # where a container sees only its own, the path may lead nowhere
            folder = hierarchy / controllers / group.relative_to("/")
            quota, period = _words(folder / "cpu.cfs_quota_us", folder / "cpu.cfs_period_us") if controllers else _words(folder / "cpu.max")
            if quota.isdecimal() and period.isdecimal():  # "max" and -1: none
                yield int(quota) / int(period)


def _words(*files: Path) -> tuple[str, str]:
    """Quota and period as they are written; two empty ones where they are not."""
    try:
        quota, period = " ".join(file.read_text() for file in files).split()
    except (OSError, ValueError):
        return "", ""
    return quota, period

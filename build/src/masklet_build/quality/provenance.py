"""Where a figure comes from: machine, versions, commit. Every report says it."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from masklet_build.serve.environment import find_environment


def machine_facts() -> dict[str, Any]:
    """What a run ran on. Family and model tell CPUs apart that share a name."""
    lines = [line.split(":", 1) for line in Path("/proc/cpuinfo").read_text().splitlines() if ":" in line]
    first = {key.strip(): value.strip() for key, value in reversed(lines)}
    cpu = f"{first.get('model name', 'unknown CPU')} (family {first.get('cpu family')}, model {first.get('model')})"
    ram = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30
    return {"cpu": cpu, "cores": os.cpu_count(), "ram_gib": round(ram, 1), "system": platform.platform()}


def versions(packages: Iterable[str]) -> dict[str, str]:
    """Of Python and of packages in this environment."""
    return {"python": platform.python_version(), **{name: importlib.metadata.version(name) for name in packages}}


def server_versions() -> dict[str, str]:
    """Of what computes in the serving environment. Raises ServeError where there is none."""
    code = "import importlib.metadata as m; print(m.version('nvidia-pytriton'), m.version('openvino'))"
    said = subprocess.run([find_environment().python, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    return {"nvidia-pytriton": said[0], "openvino of the server": said[1]}


def commit() -> str:
    """Of the repository that this file is in, and whether files in it are changed; "unknown" where it is in none."""

    def git(*words: str) -> str:
        return subprocess.run(["git", "-C", str(Path(__file__).parent), *words], capture_output=True, text=True, check=True).stdout.strip()

    try:
        return git("rev-parse", "--short=12", "HEAD") + (" with changes" if git("status", "--porcelain", "--untracked-files=no") else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def rounded(value: Any) -> Any:
    """Numbers to four digits after the point, all through dicts and lists."""
    if isinstance(value, dict):
        return {key: rounded(item) for key, item in value.items()}
    if isinstance(value, list):
        return [rounded(item) for item in value]
    return round(value, 4) if isinstance(value, float) else value

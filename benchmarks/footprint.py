"""The memory of a server, and a straight line through what it was."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from masklet_build.serve.cleanup import live_processes


@dataclass(frozen=True)
class Slope:
    """A least-squares line: bytes per frame, and the standard error of that, if the points scatter independently."""

    per_frame: float
    error: float


def slope(frames: Sequence[float], sizes: Sequence[int]) -> Slope:
    """The line through (frame, bytes). Needs three points at least."""
    x, y = np.array(frames, np.float64), np.array(sizes, np.float64)
    x -= x.mean()
    per_frame = float(x @ y / (x @ x))
    rest = y - y.mean() - per_frame * x
    return Slope(per_frame, float(np.sqrt(rest @ rest / (len(x) - 2) / (x @ x))))


def memory(session: int) -> int:
    """Bytes of tritonserver, whose process id is `session`, and its stubs: what is resident of their own, and the shared memory, counted once."""
    return sum(memory_by_process(session).values())


def memory_by_process(session: int) -> dict[str, int]:
    """The same by process: name and id -> bytes of its own; "shared memory" -> bytes of all."""
    shared: dict[str, int] = {}
    own: dict[str, int] = {}
    for pid in live_processes(session):
        with suppress(OSError):  # it ended while we looked
            folder = Path(f"/proc/{pid}")
            words = (folder / "cmdline").read_bytes().decode(errors="replace").rstrip("\0").split("\0")
            name = words[-2] if len(words) > 2 and "stub" in words[0] else Path(words[0]).name
            lines = [line.split() for line in (folder / "status").read_text().splitlines()]
            mapped = {line.split(maxsplit=5)[5] for line in (folder / "maps").read_text().splitlines() if "/dev/shm/" in line}
            shared.update({name: Path(name).stat().st_blocks * 512 for name in mapped if Path(name).exists()})
            own[f"{name} ({pid})"] = sum(int(part[1]) << 10 for part in lines if part[0] in ("RssAnon:", "RssFile:"))
    return own | {"shared memory": sum(shared.values())}

"""How old are results of a camera that is faster than its server? nano on a real server, `Video.follow`, minutes of real time.

A camera of 640 x 360 gives frames by the clock; so many objects make the server slower than that. Said are the ages of results, how many are older
than two frame times of the server (that of the frame itself and of the one before it) plus transport and one frame of the camera, and memory.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import RESULTS
from benchmarks.footprint import memory, slope
from benchmarks.report import facts, save, table
from benchmarks.steady import STEADY, Setting
from masklet import TrackedFrame, Tracker
from masklet.families import NANO
from masklet.sources import newest
from masklet_build import nano
from masklet_build.repository.assemble import assemble
from masklet_build.serve import Server

_TRANSPORT_S = 0.005
_LOOK_S = 5.0


@dataclass
class Seen:
    """What came. Times in seconds; memory: (results so far, bytes of server, bytes of client)."""

    ages: list[float] = field(default_factory=list)
    intervals: list[float] = field(default_factory=list)
    labels: Counter[str] = field(default_factory=Counter)
    skipped: int = 0
    memory: list[tuple[int, int, int]] = field(default_factory=list)
    _before: float = 0.0

    def add(self, result: TrackedFrame) -> None:
        """A result, now."""
        now = time.monotonic()
        assert result.age_s is not None
        self.ages.append(result.age_s)
        self.intervals.append(now - self._before)
        self.labels[result.label] += 1
        self.skipped += result.skipped
        self._before = now

    def beyond(self, fps: float) -> int:
        """Results that are older than two frame times of the server, transport, and one frame of the camera."""
        times = zip(self.ages[2:], self.intervals[1:-1], self.intervals[2:], strict=True)
        return sum(age > before + own + 2 * _TRANSPORT_S + 1 / fps for age, before, own in times)


def filmed(frames: Iterator[np.ndarray], fps: float, seconds: float) -> Iterator[np.ndarray]:
    """Frames by the clock."""
    begin = time.monotonic()
    for number in range(int(seconds * fps)):
        time.sleep(max(0.0, begin + number / fps - time.monotonic()))
        yield next(frames)


def resident() -> int:
    """Bytes of this process."""
    return int(next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("RssAnon")).split()[1]) << 10


def run(args: argparse.Namespace, server: Server) -> Seen:
    """Follows the camera to its end."""
    setting, seen, looked = Setting(args.objects), Seen(), 0.0
    with Tracker(server.grpc_url) as tracker, tracker.open() as video:
        for object_id, point in enumerate(setting.clicks, 1):
            video.prompt(object_id, points=[point])
        with newest(filmed(setting.later_frames(), args.fps, 60 * args.minutes), fps=args.fps) as camera:
            for result in video.follow(camera, deadline_s=args.deadline_s, masks="rle"):
                seen.add(result)
                if time.monotonic() - looked > _LOOK_S and len(seen.ages) > 2 * STEADY:
                    looked = time.monotonic()
                    seen.memory.append((len(seen.ages), memory(server.pid), resident()))
                if len(seen.ages) % 500 == 0:
                    print(f"{len(seen.ages)} results, newest {result.age_s:.3f} s old", file=sys.stderr)
    return seen


def content(args: argparse.Namespace, seen: Seen, load: float) -> dict[str, Any]:
    """The figures."""
    marks = (5, 50, 95, 99, 100)
    slopes = {name: slope([one[0] for one in seen.memory], [one[column] for one in seen.memory]) for name, column in (("server", 1), ("client", 2))}
    return {
        "plan": {"objects": args.objects, "fps": args.fps, "minutes": args.minutes, "deadline_s": args.deadline_s},
        "results": len(seen.ages),
        "per_second": len(seen.ages) / (60 * args.minutes),
        "jumped_over": seen.skipped,
        "labels": dict(seen.labels),
        "age_s": dict(zip(map(str, marks), np.percentile(seen.ages, marks).tolist(), strict=True)),
        "frame_time_s": dict(zip(map(str, marks), np.percentile(seen.intervals[1:], marks).tolist(), strict=True)),
        "beyond": seen.beyond(args.fps),
        "bytes_per_frame": {name: {"slope": line.per_frame, "error": line.error} for name, line in slopes.items()},
        **facts(load),
    }


def lines(found: dict[str, Any]) -> list[str]:
    """The report."""
    plan = found["plan"]
    rows = [(name, *(f"{1e3 * found[key][mark]:.0f}" for mark in found[key])) for name, key in (("age", "age_s"), ("frame time", "frame_time_s"))]
    growth = ", ".join(f"{name} {one['slope']:.0f} ± {one['error']:.0f} bytes" for name, one in found["bytes_per_frame"].items())
    return [
        "# A camera before a slower server",
        "",
        f"{plan['minutes']:g} minutes of a camera of {plan['fps']:g} frames/s at 640 x 360, {plan['objects']} objects of `nano`: "
        f"{found['results']} results, {found['per_second']:.1f} a second; {found['jumped_over']} frames were jumped over "
        f"({', '.join(f'{count} {label}' for label, count in found['labels'].items())}).",
        "",
        *table(["milliseconds", *(f"{mark} %" for mark in found["age_s"])], rows),
        f"Older than two frame times, plus transport ({1e3 * 2 * _TRANSPORT_S:.0f} ms) and one frame of the camera: "
        f"{found['beyond']} of {found['results']}.",
        f"Memory per frame tracked: {growth}.",
        "",
    ]


def main() -> int:
    """Returns 0."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.follow", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10, metavar="M", help="how long (default: %(default)g)")
    parser.add_argument("--fps", type=float, default=30, help="of the camera (default: %(default)g)")
    parser.add_argument("--objects", type=int, default=12, help="of nano; more are slower (default: %(default)s)")
    parser.add_argument("--deadline-s", type=float, metavar="S", help="see Video.follow (default: none)")
    parser.add_argument("--out", type=Path, default=RESULTS, metavar="DIR", help="for follow.json and follow.md (default: benchmarks/results)")
    args = parser.parse_args()
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory(prefix="masklet-follow-") as folder:
        repository = assemble(NANO.name, nano.ENGINES, Path(folder) / "repository")
        with Server(repository, grpc_port=0, http_port=0, metrics_port=0) as server:
            seen = run(args, server)
    found = content(args, seen, load)
    save(args.out, "follow", found, lines(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())

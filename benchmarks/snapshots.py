"""What does a snapshot cost beside a frame, and a replay without one? How often `masklet.Resilience` takes one follows from this.

Frames with and without a snapshot take turns on one video of nano, so that faster and slower moments of a shared machine touch both alike.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks import RESULTS
from benchmarks.report import facts, median, save, table
from benchmarks.steady import STEADY, Setting
from masklet import Tracker, Video
from masklet.families import NANO
from masklet_build import nano
from masklet_build.repository.assemble import assemble
from masklet_build.serve import Server

EVERY = (1, 2, 4, 8, 16, 32)
RESTORES = 20


@dataclass
class Cost:
    """Of one number of objects: milliseconds of a frame without and with a snapshot and of a restore (medians), bytes of a snapshot."""

    objects: int
    plain_ms: float
    snapshot_ms: float
    restore_ms: float
    nbytes: int


def measured(tracker: Tracker, objects: int, frames: int) -> Cost:
    """Measures with so many frames of each kind."""
    setting = Setting(objects, NANO.image_size, NANO.image_size)
    first, later = setting.files()
    plain: list[float] = []
    snapshot: list[float] = []
    with tracker.open() as video:
        for object_id, click in enumerate(setting.clicks):
            video.prompt(object_id, points=[click])
        video.track(first)
        for _ in range(STEADY):
            video.track(next(later))
        for _ in range(frames):
            plain.append(timed(video, later, snapshot=False))
            snapshot.append(timed(video, later, snapshot=True))
        state = video.snapshot()
    restores = [restored(tracker, state) for _ in range(RESTORES)]
    return Cost(objects, median(plain), median(snapshot), median(restores), len(state))


def timed(video: Video, frames: Iterator[bytes], *, snapshot: bool) -> float:
    """Milliseconds of a frame."""
    frame, begin = next(frames), time.perf_counter()
    video.track(frame, snapshot=snapshot)
    return 1000 * (time.perf_counter() - begin)


def restored(tracker: Tracker, state: bytes) -> float:
    """Milliseconds until another video goes on from a snapshot, connection included."""
    begin = time.perf_counter()
    with tracker.open(state=state):
        return 1000 * (time.perf_counter() - begin)


def markdown(content: dict[str, Any]) -> list[str]:
    """The report."""
    lines = ["# What a snapshot costs", "", "`nano` on a CPU, 256x256 JPEG, one frame on its way. `benchmarks/README.md` says how to read it.", ""]
    for cost in (Cost(**made) for made in content["costs"]):
        extra = cost.snapshot_ms - cost.plain_ms
        lines += [
            f"{cost.objects} object(s): a frame takes {cost.plain_ms:.1f} ms, with a snapshot {extra:.1f} ms more; "
            f"the snapshot has {cost.nbytes / 2**20:.2f} MiB; a restore takes {cost.restore_ms:.1f} ms.",
            "",
            *table(
                ["a snapshot with every", "more time per frame", "more bytes per frame", "restore and longest replay"],
                (
                    [
                        every,
                        f"{100 * extra / every / cost.plain_ms:.1f} %",
                        f"{cost.nbytes / every / 1024:.0f} KiB",
                        f"{cost.restore_ms + (every - 1) * cost.plain_ms:.0f} ms",
                    ]
                    for every in EVERY
                ),
            ),
        ]
    return lines


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--objects", type=int, nargs="+", default=[1, 4], metavar="N", help="objects in the video; default 1 4")
    parser.add_argument("--frames", type=int, default=200, metavar="N", help="frames of each kind; default %(default)s")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of snapshots.json and snapshots.md; default %(default)s")
    args = parser.parse_args()
    load, costs = os.getloadavg()[0], []
    with tempfile.TemporaryDirectory() as folder:
        repository = assemble(NANO.name, nano.ENGINES, Path(folder) / "repository")
        with Server(repository, grpc_port=0, http_port=0, metrics_port=0) as server, Tracker(server.grpc_url) as tracker:
            for objects in args.objects:
                costs.append(measured(tracker, objects, args.frames))
                print(costs[-1], flush=True)
    content = {"costs": [asdict(cost) for cost in costs], **facts(load)}
    save(args.out, "snapshots", content, markdown(content))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

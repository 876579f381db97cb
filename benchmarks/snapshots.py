"""What does a snapshot cost beside a frame? `masklet.Resilience` takes one every so often; how often follows from this.

Frames with and without a snapshot take turns on one video of nano, so that a shared machine's faster and slower moments touch both alike.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from masklet import Resilience, Tracker, Video
from masklet.families import NANO
from masklet_build import nano
from masklet_build.assemble import assemble
from masklet_build.serve import Server
from report import facts, median
from steady import STEADY, Setting

EVERY = (1, 2, 4, 8, 16, 32)
OBJECTS = (1, 4)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=200, help="of each kind; default %(default)s")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        repository = assemble(NANO.name, nano.ENGINES, Path(folder) / "repository")
        with Server(repository, grpc_port=0, http_port=0, metrics_port=0) as server, Tracker(server.grpc_url) as tracker:
            for objects in OBJECTS:
                print(table(objects, measured(tracker, objects, args.frames)), flush=True)
    print(facts(sys.argv))
    return 0


def measured(tracker: Tracker, objects: int, frames: int) -> dict[str, Any]:
    """Seconds of frames without and with a snapshot, bytes of one, and seconds of restoring it."""
    setting = Setting(objects, NANO.image_size, NANO.image_size)
    first, later = setting.files()
    with tracker.open() as video:
        setting.prompt(video)
        video.track(first)
        for _ in range(STEADY):
            video.track(next(later))
        plain, snapped = [], []
        for _ in range(frames):
            plain.append(seconds(video, later, snapshot=False))
            snapped.append(seconds(video, later, snapshot=True))
        state = video.snapshot()
    return {"plain": median(plain), "snapped": median(snapped), "bytes": len(state), "restore": median([restored(tracker, state) for _ in range(20)])}

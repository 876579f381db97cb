"""Whether the server grows with the length of a video, or with the number of videos: its memory, and a straight line through it.

One long video first, then many short ones, through the same server. What they need is bounded and is given back, so the lines must be flat, but for
allocators and garbage collectors, which settle in the first hundreds to thousands of frames: look at the second half.
"""

from __future__ import annotations

import argparse
import itertools
import os
import re
import sys
import tempfile
import urllib.request
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from benchmarks import RESULTS
from benchmarks.engines import ready_engines
from benchmarks.footprint import memory, slope
from benchmarks.report import facts, save, table
from masklet.tracker import Tracker
from masklet.video import Video
from masklet_build.clips import inner_point, make_clip
from masklet_build.models import variants
from masklet_build.repository.assemble import assemble
from masklet_build.serve import Server

SETTLED = 200  # frames, or videos, until the allocators have settled
EVERY = 10  # frames, or videos, between two looks
OBJECTS = 2
SHORT = 5  # frames of a short video

Point = tuple[int, int]
Tick = Callable[[], object]
Seen = tuple[list[int], list[int]]  # numbers of frames or videos, and the bytes then


def after(first: int, frames: Sequence[int], sizes: Sequence[int]) -> tuple[list[int], list[int]]:
    """The points from frame `first` on."""
    late = [number for number, frame in enumerate(frames) if frame >= first]
    return [frames[number] for number in late], [sizes[number] for number in late]


def watch(server: Server, video: Video, frames: Sequence[np.ndarray], count: int, tick: Tick) -> Seen:
    """Tracks `count` frames, back and forth through `frames`; the frames at which it looked, and the bytes that it saw."""
    seen: Seen = [], []
    for index, frame in enumerate(itertools.islice(itertools.cycle([*frames, *frames[-2:0:-1]]), count)):
        video.track(frame)
        tick()
        if index % EVERY == 0:
            seen[0].append(index)
            seen[1].append(memory(server.pid))
    return seen


def come_and_go(server: Server, tracker: Tracker, frames: Sequence[np.ndarray], clicks: Sequence[Point], count: int, tick: Tick) -> Seen:
    """Tracks `count` videos of SHORT frames, one after the other; the numbers of videos at which it looked, and the bytes that it saw."""
    seen: Seen = [], []
    for number in range(count):
        with tracker.open() as video:
            prompt(video, clicks)
            for frame in itertools.islice(itertools.cycle(frames), SHORT):
                video.track(frame)
        tick()
        if number % EVERY == 0:
            seen[0].append(number)
            seen[1].append(memory(server.pid))
    return seen


def prompt(video: Video, clicks: Sequence[Point]) -> None:
    """Clicks every object."""
    for object_id, click in enumerate(clicks, 1):
        video.prompt(object_id, points=[click])


def left_behind(server: Server) -> dict[str, float]:
    """What the bank says that it still holds."""
    with urllib.request.urlopen(server.metrics_url, timeout=5) as answer:
        text = answer.read().decode()
    return {name: float(value) for name, value in re.findall(r"^masklet_(videos|objects|bank_bytes) (\S+)$", text, re.MULTILINE)}


def summary(seen: Seen) -> dict[str, Any]:
    """The lines after SETTLED and through the second half, and eleven points of the way."""
    numbers, sizes = seen
    lines = {first: asdict(slope(*after(first, numbers, sizes))) for first in (SETTLED, numbers[len(numbers) // 2])}
    way = [[numbers[index], sizes[index]] for index in np.linspace(0, len(numbers) - 1, 11).astype(int)]
    return {"lines": lines, "way": way}


def markdown(content: dict[str, Any]) -> list[str]:
    """The result in words and tables."""
    lines = [
        "# Does the server's memory grow?",
        "",
        f"{content['variant']}, {content['objects']} objects per video; one object's whole memory is {content['object_bytes']:,} bytes.",
        "Resident memory of tritonserver and of all its python processes, shared memory counted once.",
        "",
    ]
    for name, each in (("frames of one video", "frame"), (f"videos of {SHORT} frames", "video")):
        part = content[each]
        slopes = ((first, f"{line['per_frame']:+.1f}", f"{line['error']:.1f}") for first, line in part["lines"].items())
        lines += [f"{part['count']:,} {name}:", "", *table([f"from {each}", f"bytes per {each}", "standard error"], slopes)]
        lines += table([each, "MiB"], ((number, f"{size / 2**20:.2f}") for number, size in part["way"]))
    left = ", ".join(f"{name} {value:.0f}" for name, value in content["left_behind"].items())
    return [*lines, f"What the bank holds afterwards: {left}.", ""]


def run(args: argparse.Namespace, scratch: Path) -> dict[str, Any]:
    """Serves random weights and tracks."""
    made = make_clip("test", 1, frames=16, height=90, width=160, objects=OBJECTS)
    frames, clicks = list(made.frames), [inner_point(mask) for mask in made.masks[0]]
    repository = assemble(args.variant, ready_engines(scratch, variants.variant(args.variant), None, print), scratch / "repository")
    with (
        Server(repository, grpc_port=0, http_port=0, metrics_port=0) as server,
        Tracker(server.grpc_url, timeout_s=60) as tracker,
    ):
        with tracker.open() as video, tqdm(total=args.frames, unit="frame") as progress:
            prompt(video, clicks)
            long = watch(server, video, frames, args.frames, progress.update)
        with tqdm(total=args.videos, unit="video") as progress:
            short = come_and_go(server, tracker, frames, clicks, args.videos, progress.update)
        left = left_behind(server)
    parts = {"frame": {"count": args.frames, **summary(long)}, "video": {"count": args.videos, **summary(short)}}
    return {"variant": args.variant, "objects": OBJECTS, "object_bytes": variants.variant(args.variant).object_bytes(), **parts, "left_behind": left}


def main() -> int:
    """Runs the benchmark. Returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    said = f"the first {SETTLED} do not count (default: %(default)s)"
    parser.add_argument("--frames", type=int, default=10_000, metavar="N", help=f"of one video; {said}")
    parser.add_argument("--videos", type=int, default=1000, metavar="N", help=f"of {SHORT} frames; {said}")
    parser.add_argument(
        "--variant", default="efficienttam_ti_512@64", metavar="NAME", help="NAME@SIDE is scaled down and quick (default: %(default)s)"
    )
    parser.add_argument("--out", type=Path, default=RESULTS, metavar="DIR", help="for memory.json and memory.md (default: benchmarks/results)")
    args = parser.parse_args()
    for name, count in (("--frames", args.frames), ("--videos", args.videos)):
        if count < SETTLED + 3 * EVERY:
            parser.error(f"{name} {count}: at least {SETTLED + 3 * EVERY} are needed.")
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory(prefix="masklet-memory-") as scratch:
        content = run(args, Path(scratch))
    content |= facts(load)
    save(args.out, "memory", content, markdown(content))
    return 0


if __name__ == "__main__":
    sys.exit(main())

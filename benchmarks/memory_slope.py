"""Whether the server grows with the length of a video: its processes and shared memory over many frames, and a straight line through them.

A video's memory is bounded, so the line must be flat, but for allocators and garbage collectors, which settle in the first hundreds to thousands
of frames: look at the second half, too.
"""

from __future__ import annotations

import argparse
import itertools
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from engines import ready_engines
from masklet import families
from masklet.tracker import Tracker, Video
from masklet_build.assemble import assemble
from masklet_build.clips import inner_point, make_clip
from masklet_build.serve import Server
from masklet_build.serve.cleanup import live_processes

SETTLED = 200  # frames until the allocators have settled
EVERY = 10  # frames between two looks
OBJECTS = 2


@dataclass(frozen=True)
class Slope:
    """A least-squares line: bytes per frame, and the standard error of that, if the points scatter independently."""

    per_frame: float
    error: float


def slope(frames: Sequence[int], sizes: Sequence[int]) -> Slope:
    """The line through (frame, bytes). Needs three points at least."""
    x, y = np.array(frames, np.float64), np.array(sizes, np.float64)
    x -= x.mean()
    per_frame = float(x @ y / (x @ x))
    rest = y - y.mean() - per_frame * x
    return Slope(per_frame, float(np.sqrt(rest @ rest / (len(x) - 2) / (x @ x))))


def after(first: int, frames: Sequence[int], sizes: Sequence[int]) -> tuple[list[int], list[int]]:
    """The points from frame `first` on."""
    late = [number for number, frame in enumerate(frames) if frame >= first]
    return [frames[number] for number in late], [sizes[number] for number in late]


def memory(server: Server) -> int:
    """Bytes of tritonserver and its stubs: what is resident of their own, and the shared memory, counted once."""
    shared: dict[str, int] = {}
    own = 0
    for pid in live_processes(server.pid):
        folder = Path(f"/proc/{pid}")
        lines = (line.split() for line in (folder / "status").read_text().splitlines())
        own += sum(int(words[1]) << 10 for words in lines if words[0] in ("RssAnon:", "RssFile:"))
        mapped = {line.split(maxsplit=5)[5] for line in (folder / "maps").read_text().splitlines() if "/dev/shm/" in line}
        shared.update({name: Path(name).stat().st_blocks * 512 for name in mapped if Path(name).exists()})
    return own + sum(shared.values())


def watch(server: Server, video: Video, frames: Sequence[np.ndarray], count: int, tick: Callable[[], object]) -> tuple[list[int], list[int]]:
    """Tracks `count` frames, back and forth through `frames`; the frames at which it looked, and the bytes that it saw."""
    seen: tuple[list[int], list[int]] = [], []
    for index, frame in enumerate(itertools.islice(itertools.cycle([*frames, *frames[-2:0:-1]]), count)):
        video.track(frame)
        tick()
        if index % EVERY == 0:
            seen[0].append(index)
            seen[1].append(memory(server))
    return seen


def main() -> int:
    """Serves random weights, tracks, prints the line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--frames", type=int, default=2000, metavar="N", help=f"of one video; the first {SETTLED} do not count (default: %(default)s)"
    )
    parser.add_argument(
        "--variant", default="efficienttam_ti_512@64", metavar="NAME", help="NAME@SIDE is scaled down and quick (default: %(default)s)"
    )
    args = parser.parse_args()
    if args.frames < SETTLED + 3 * EVERY:
        parser.error(f"--frames {args.frames}: at least {SETTLED + 3 * EVERY} are needed.")
    made = make_clip("test", 1, frames=16, height=90, width=160, objects=OBJECTS)
    with tempfile.TemporaryDirectory(prefix="masklet-memory-") as scratch:
        engines = ready_engines(Path(scratch), families.variant(args.variant), None, print)
        repository = assemble(args.variant, engines, Path(scratch) / "repository")
        with (
            Server(repository, grpc_port=0, http_port=0, metrics_port=0) as server,
            Tracker(server.grpc_url) as tracker,
            tracker.open() as video,
            tqdm(total=args.frames, unit="frame") as progress,
        ):
            for object_id, mask in enumerate(made.masks[0], 1):
                video.prompt(object_id, points=[inner_point(mask)])
            frames, sizes = watch(server, video, list(made.frames), args.frames, progress.update)
    report(frames, sizes, args.variant)
    return 0


def report(frames: list[int], sizes: list[int], variant: str) -> None:
    """Prints the memory along the way and the line after SETTLED."""
    for frame, size in list(zip(frames, sizes, strict=True))[:: max(1, len(frames) // 10)]:
        print(f"frame {frame:>6}  {size / 2**20:9.2f} MiB")
    for first in (SETTLED, frames[len(frames) // 2]):
        line = slope(*after(first, frames, sizes))
        print(f"after frame {first}: {line.per_frame:+.1f} bytes per frame, standard error {line.error:.1f}")
    object_bytes = families.variant(variant).object_bytes()
    print(f"({OBJECTS} objects; one object's whole memory is {object_bytes} bytes)")


if __name__ == "__main__":
    sys.exit(main())

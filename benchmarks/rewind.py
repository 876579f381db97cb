"""What does a history cost, and how long does a late click take to arrive? nano, one video on a real server, JPEG of 256 x 256.

Frames of a video with history and of one without take turns, so that faster and slower moments of a shared machine touch both alike. Then a click is
given for a frame that was sent some seconds ago, by a video that is sent so many frames a second, and it is taken how long it is until it takes over.
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

import numpy as np

from benchmarks import RESULTS
from benchmarks.report import facts, median, save, table
from benchmarks.steady import STEADY, Setting
from masklet import Tracker, Video
from masklet.families import NANO
from masklet.history.connection import HistoryConnection
from masklet_build import nano
from masklet_build.repository.assemble import assemble
from masklet_build.serve import Server

HISTORY_S = 12.0


@dataclass
class Cost:
    """Of one number of objects: milliseconds of a frame without and with history (medians; mean of the difference, and its standard error), and the
    bytes of the history."""

    objects: int
    plain_ms: float
    history_ms: float
    more_ms: float
    error_ms: float
    frames: int
    frame_bytes: int
    history_bytes: int


@dataclass
class Arrival:
    """A click for a frame so many seconds back: frames that came again, seconds until the video went on with it, live frames meanwhile."""

    objects: int
    back_s: float
    replayed: int
    seconds: float
    live: int


def started(tracker: Tracker, setting: Setting, **opened: Any) -> tuple[Video, Iterator[bytes]]:
    """A video in its steady state."""
    first, later = setting.files()
    video = tracker.open(**opened)
    for object_id, click in enumerate(setting.clicks):
        video.prompt(object_id, points=[click])
    video.track(first)
    for _ in range(STEADY):
        video.track(next(later))
    return video, later


def cost(tracker: Tracker, objects: int, frames: int) -> Cost:
    """Measures with so many frames of each kind."""
    setting = Setting(objects, NANO.image_size, NANO.image_size)
    plain, with_history, sizes = [], [], []
    (video, later), (other, others) = started(tracker, setting), started(tracker, setting, history_s=HISTORY_S)
    with video, other:
        for _ in range(frames):
            plain.append(timed(video, next(later)))
            frame = next(others)
            sizes.append(len(frame))
            with_history.append(timed(other, frame))
        held = kept(other)
    more = np.subtract(with_history, plain)
    error_ms = float(more.std(ddof=1) / frames**0.5)
    return Cost(objects, median(plain), median(with_history), float(more.mean()), error_ms, frames, int(median(sizes)), held)


def timed(video: Video, frame: bytes) -> float:
    """Milliseconds of a frame."""
    begin = time.perf_counter()
    video.track(frame)
    return 1000 * (time.perf_counter() - begin)


def kept(video: Video) -> int:
    """Bytes of the history."""
    connection = video._video._connection
    assert isinstance(connection, HistoryConnection)
    return connection._log.nbytes


def arrival(tracker: Tracker, objects: int, back_s: float, rate: float) -> Arrival:
    """A click for `back_s` seconds ago, in a video of `rate` frames a second."""
    setting = Setting(objects, NANO.image_size, NANO.image_size)
    video, later = started(tracker, setting, history_s=HISTORY_S)
    with video:
        steady(video, later, rate, until=time.monotonic() + back_s + 0.5)
        newest = video.track(next(later)).frame_index
        begin = time.monotonic()
        with video.rewind(newest - round(back_s * rate)) as past:
            past.prompt(0, points=[setting.clicks[0]])
        live = steady(video, later, rate, past=past)
        return Arrival(objects, back_s, len(past.wait()), time.monotonic() - begin, live)


def steady(video: Video, frames: Iterator[bytes], rate: float, *, until: float = 0.0, past: Any = None) -> int:
    """Sends so many frames a second until then, or until the rewind is done. How many."""
    count, due = 0, time.monotonic()
    while (time.monotonic() < until) if past is None else not past.done:
        video.track(next(frames))
        count, due = count + 1, max(due + 1 / rate, time.monotonic())
        while time.monotonic() < due and not (past is not None and past.done):
            time.sleep(0.001)
    return count


def markdown(content: dict[str, Any]) -> list[str]:
    """The report."""
    costs, arrivals, rate = [Cost(**one) for one in content["costs"]], [Arrival(**one) for one in content["arrivals"]], content["rate"]
    return [
        "# What time travel costs",
        "",
        "`nano` on a CPU, JPEG of 256 x 256, one frame on its way. `benchmarks/README.md` says how to read it.",
        "",
        f"Frames with history (`history_s={HISTORY_S:g}`) and without took turns on two videos.",
        "",
        *table(
            ["objects", "ms per frame without", "with", "more (mean, standard error)", "history", "of it frames (JPEG, each)"],
            (
                [
                    one.objects,
                    f"{one.plain_ms:.1f}",
                    f"{one.history_ms:.1f}",
                    f"{one.more_ms:+.2f} ± {one.error_ms:.2f} ms",
                    f"{one.history_bytes / 2**20:.1f} MiB after {one.frames} frames",
                    f"{one.frame_bytes / 1000:.1f} kB",
                ]
                for one in costs
            ),
        ),
        "",
        f"A click for a frame some seconds back, while the video was sent {rate:g} frames/s:",
        "",
        *table(
            ["objects", "seconds back", "frames that came again", "until the video went on with it", "live frames meanwhile"],
            ([one.objects, f"{one.back_s:g}", one.replayed, f"{one.seconds:.2f} s", one.live] for one in arrivals),
        ),
    ]


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--objects", type=int, nargs="+", default=[1, 4], metavar="N", help="objects in the video, the first also for clicks; default 1 4"
    )
    parser.add_argument("--frames", type=int, default=200, metavar="N", help="frames of each kind; default %(default)s")
    parser.add_argument("--rate", type=float, default=4.0, metavar="N", help="live frames per second; default %(default)s")
    parser.add_argument("--back", type=float, nargs="+", default=[1, 3, 10], metavar="S", help="how far back clicks are; default 1 3 10")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of rewind.json and rewind.md; default %(default)s")
    args = parser.parse_args()
    load, costs, arrivals = os.getloadavg()[0], [], []
    with tempfile.TemporaryDirectory() as folder:
        repository = assemble(NANO.name, nano.ENGINES, Path(folder) / "repository")
        with Server(repository, grpc_port=0, http_port=0, metrics_port=0) as server, Tracker(server.grpc_url) as tracker:
            for objects in args.objects:
                costs.append(cost(tracker, objects, args.frames))
                print(costs[-1], flush=True)
            for back_s in args.back:
                arrivals.append(arrival(tracker, args.objects[0], back_s, args.rate))
                print(arrivals[-1], flush=True)
    content = {"costs": [asdict(one) for one in costs], "arrivals": [asdict(one) for one in arrivals], "rate": args.rate, **facts(load)}
    save(args.out, "rewind", content, markdown(content))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

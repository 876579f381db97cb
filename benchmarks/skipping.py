"""What does it cost to track a part of the frames? nano on a real server, drawn test clips with true masks, one click per object on the first frame.

Two questions. How good are the masks of every k-th frame, with indices that jump as the frames do (which is what `Video.follow` sends: places in the
memory stay empty), and with indices that are counted on? And, as in streaming perception (Li et al., "Towards Streaming Perception", ECCV 2020): how
well does the newest answer that is there agree with the truth of now, for cameras that are slower and faster than the server? The second is asked of
`follow`'s flow in simulated time, and of a client that sends every frame and falls behind; their masks are those that the server really gives for the
frames that they get to.
"""

from __future__ import annotations

import argparse
import os
import random
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks import RESULTS
from benchmarks.report import facts, save
from benchmarks.simulated import Answered, SimulatedClient, newest_at, queued
from benchmarks.skipping_report import lines, plot
from masklet import Tracker
from masklet.connection.flow import Flow
from masklet.families import NANO
from masklet_build import nano
from masklet_build.clips import STORIES, Clip, inner_point, make_clip
from masklet_build.quality.measures import boundary_accuracy, region_similarity
from masklet_build.repository.assemble import assemble
from masklet_build.serve import Server

STEPS = (1, 2, 3, 4, 6, 8)
TRUTHS = 30  # of a clip per second: a camera of 10 frames/s sees every third
CAMERAS = (30, 15, 10, 5)  # frames/s
SERVERS = (60, 30, 15, 10, 5)
LATE = (1, 2, 3, 6, 12)  # frames of the clip
FROM = 12  # the first frame that counts: the slowest server has answered by then, and all rows are compared at the same instants
_JITTER = 0.1  # of a server's frame time, up and down
_SIDE = 256

Masks = NDArray[np.bool_]
Scores = NDArray[np.float64]  # J and F last


def j_and_f(truth: Masks, masks: Masks) -> Scores:
    """(N, 2): J and F of each object."""
    f = [boundary_accuracy(true, mask) for true, mask in zip(truth, masks, strict=True)]
    return np.stack([region_similarity(truth, masks), f], axis=-1)


@dataclass
class Tracked:
    """The masks of one clip for any choice of frames. Each choice is tracked once, each comparison made once."""

    tracker: Tracker | None
    clip: Clip
    seconds: list[float] = field(default_factory=list)  # of each request
    _masks: dict[tuple[tuple[int, ...], tuple[int, ...]], dict[int, Masks]] = field(default_factory=dict)
    _scores: dict[tuple[int, int, int], Scores] = field(default_factory=dict)

    def masks(self, frames: Sequence[int], indices: Sequence[int]) -> dict[int, Masks]:
        """By frame of the clip: (N, H, W); `indices` are the frame_index that the server is told."""
        key = tuple(frames), tuple(indices)
        if key not in self._masks:
            self._masks[key] = dict(self._track(*key))
        return self._masks[key]

    def score(self, masks: dict[int, Masks], frame: int, now: int) -> Scores:
        """(N, 2): of the masks of a frame beside the truth of another one."""
        key = id(masks), frame, now
        if key not in self._scores:
            self._scores[key] = j_and_f(self.clip.masks[now], masks[frame])
        return self._scores[key]

    def _track(self, frames: Iterable[int], indices: Iterable[int]) -> Iterable[tuple[int, Masks]]:
        assert self.tracker is not None
        with self.tracker.open() as video:
            for object_id, mask in enumerate(self.clip.masks[0], 1):
                video.prompt(object_id, points=[inner_point(mask)])
            for frame, index in zip(frames, indices, strict=True):
                begin = time.perf_counter()
                yield frame, video.track(self.clip.frames[frame], frame_index=index).masks
                self.seconds.append(time.perf_counter() - begin)


def every(tracked: Tracked, step: int) -> Scores:
    """(N, 3, 2): all frames tracked, every `step`-th with indices that jump, and counted on. Of every `step`-th frame alone, without the first."""
    frames = range(0, len(tracked.clip.frames), step)
    everything = range(len(tracked.clip.frames))
    ways = tracked.masks(everything, everything), tracked.masks(frames, frames), tracked.masks(frames, range(len(frames)))
    return np.stack([np.mean([tracked.score(masks, frame, frame) for frame in frames[1:]], axis=0) for masks in ways], axis=1)


def streaming(tracked: Tracked, answers: Sequence[Answered], camera: int) -> tuple[Scores, float]:
    """(N, 2, 2): of what is shown at every frame of the clip, beside the truth of now, and of its own frame; and its mean age in seconds."""
    stride = TRUTHS // camera
    indices = [one.index for one in answers]
    masks = tracked.masks([stride * index for index in indices], indices)
    shown = [(now, newest_at(answers, now / TRUTHS)) for now in range(FROM, len(tracked.clip.masks))]
    pairs = [(stride * newest, now) for now, newest in shown if newest is not None]
    assert len(pairs) == len(shown), "an answer is there from the first frame on that counts"
    scores = [np.stack([tracked.score(masks, frame, now), tracked.score(masks, frame, frame)], axis=1) for frame, now in pairs]
    return np.mean(scores, axis=0), float(np.mean([now - frame for frame, now in pairs])) / TRUTHS


def clients(frames: int, camera: int, server: int, seed: int) -> dict[str, list[Answered]]:
    """What `follow` and a client that queues track of a clip of so many frames, and when their answers come."""
    arrived = len(range(0, frames, TRUTHS // camera))
    drawn = [random.Random(f"{seed} {server}") for _ in range(2)]

    def service(which: int) -> float:
        return drawn[which].uniform(1 - _JITTER, 1 + _JITTER) / server

    follow = SimulatedClient(Flow(), camera, lambda _: service(0)).play(arrived).answers
    return {"follow": follow, "queue": queued(arrived, camera, lambda _: service(1))}


def late(clip: Clip, frames: int) -> Scores:
    """(N, 2): of the true masks so many frames ago beside those of now."""
    return np.mean([j_and_f(clip.masks[now], clip.masks[now - frames]) for now in range(FROM, len(clip.masks))], axis=0)


def speeds(masks: Masks) -> NDArray[np.float64]:
    """(N, 2): how far objects (T, N, H, W) move from frame to frame: the median in pixels, and the same in roots of their median area."""
    y, x = np.mgrid[: masks.shape[2], : masks.shape[3]]
    areas = np.where((sizes := masks.sum(axis=(2, 3))) > 0, sizes, np.nan)
    centres = np.stack([(masks * x).sum(axis=(2, 3)) / areas, (masks * y).sum(axis=(2, 3)) / areas], axis=-1)
    pixels = np.nanmedian(np.linalg.norm(np.diff(centres, axis=0), axis=-1), axis=0)
    return np.stack([pixels, pixels / np.sqrt(np.nanmedian(areas, axis=0))], axis=-1)


def of_clip(tracked: Tracked, seed: int) -> dict[Any, Any]:
    """All scores of one clip, objects first; and the ages."""
    found: dict[Any, Any] = {("every", step): every(tracked, step) for step in STEPS}
    found |= {("late", frames): late(tracked.clip, frames) for frames in LATE}
    for camera in CAMERAS:
        for server in SERVERS:
            for name, answers in clients(len(tracked.clip.frames), camera, server, seed).items():
                found[name, camera, server], found["age", name, camera, server] = streaming(tracked, answers, camera)
                found["share", name, camera, server] = len(answers) / len(range(0, len(tracked.clip.frames), TRUTHS // camera))
    return found | {"speeds": speeds(tracked.clip.masks)}


def mean_and_error(clips: Sequence[NDArray[np.float64]]) -> dict[str, float]:
    """Of objects, given by clip: the mean, and its standard error, in which objects of a clip count as one draw."""
    mean = np.concatenate(clips).mean()
    sums = np.array([(one - mean).sum() for one in clips])
    error = np.sqrt(len(clips) / max(len(clips) - 1, 1) * np.sum(sums**2)) / sum(map(len, clips))
    return {"mean": float(mean), "error": float(error)}


def summed_up(clips: Sequence[dict[Any, Any]]) -> dict[str, Any]:
    """All figures. J&F unless a name says otherwise."""

    def jf(key: Any, *place: int) -> list[NDArray[np.float64]]:
        return [one[key][(slice(None), *place)].mean(axis=-1) for one in clips]

    def less(some: Sequence[NDArray[np.float64]], others: Sequence[NDArray[np.float64]]) -> dict[str, float]:
        return mean_and_error([a - b for a, b in zip(some, others, strict=True)])

    moves = np.concatenate([one["speeds"] for one in clips])
    fast = [one["speeds"][:, 1] > np.median(moves[:, 1]) for one in clips]

    def halves(values: Sequence[NDArray[np.float64]]) -> dict[str, Any]:
        slow, quick = (np.concatenate([one[mask] for one, mask in zip(values, masks, strict=True)]) for masks in ([~one for one in fast], fast))
        return mean_and_error(values) | {"slow": float(slow.mean()), "fast": float(quick.mean())}

    steps = []
    for step in STEPS:
        all_, jumping, counted = (jf(("every", step), way) for way in range(3))
        measures = {name: float(np.concatenate([one["every", step][:, 1, column] for one in clips]).mean()) for column, name in enumerate("JF")}
        shown = {"all": mean_and_error(all_), "jumping": mean_and_error(jumping) | measures, "counted": mean_and_error(counted)}
        steps.append({"step": step} | shown | {"lost": less(jumping, all_), "gain": less(jumping, counted)})
    live = []
    for camera in CAMERAS:
        for server in SERVERS:
            row: dict[str, Any] = {"camera": camera, "server": server}
            for name in ("follow", "queue"):
                key = name, camera, server
                j = float(np.concatenate([one[key][:, 0, 0] for one in clips]).mean())
                more = {what: float(np.mean([one[(what, *key)] for one in clips])) for what in ("age", "share")}
                row[name] = {"now": halves(jf(key, 0)) | {"J": j}, "own": mean_and_error(jf(key, 1)), **more}
            row["gain"] = less(jf(("follow", camera, server), 0), jf(("queue", camera, server), 0))
            live.append(row)
    return {
        "objects": len(moves),
        "pixels_per_frame": np.percentile(moves[:, 0], (10, 50, 90)).tolist(),
        "sizes_per_second": (TRUTHS * np.percentile(moves[:, 1], (10, 50, 90))).tolist(),
        "steps": steps,
        "late": [{"frames": frames, **halves(jf(("late", frames)))} for frames in LATE],
        "live": live,
    }


def measured(tracker: Tracker, count: int, frames: int) -> dict[str, Any]:
    """Tracks so many clips, two at a time, and sums up."""

    def one(number: int) -> dict[Any, Any]:
        clip = make_clip("test", number, frames=frames, height=_SIDE, width=_SIDE, story=STORIES[number % len(STORIES)])
        tracked = Tracked(tracker, clip)
        found = of_clip(tracked, number)
        print(f"clip {number}: {len(tracked.seconds)} requests", file=sys.stderr)
        return found

    alone = Tracked(tracker, make_clip("test", 0, frames=frames, height=_SIDE, width=_SIDE, objects=1))
    alone.masks(range(frames), range(frames))
    with ThreadPoolExecutor(2) as pool:
        return summed_up(list(pool.map(one, range(count)))) | {"frame_s": float(np.median(alone.seconds))}


def main() -> int:
    """Returns 0."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.skipping", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, default=25, metavar="N", help="drawn test clips; the stories take turns (default: %(default)s)")
    parser.add_argument("--frames", type=int, default=61, metavar="T", help="of each clip (default: %(default)s)")
    parser.add_argument("--out", type=Path, default=RESULTS, metavar="DIR", help="for skipping.json, .md and .svg (default: benchmarks/results)")
    args = parser.parse_args()
    if args.frames <= FROM or args.clips < 2:
        parser.error(f"--frames must be over {FROM}, where counting begins, and --clips 2 or more.")
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory(prefix="masklet-skipping-") as folder:
        repository = assemble(NANO.name, nano.ENGINES, Path(folder) / "repository")
        with Server(repository, grpc_port=0, http_port=0, metrics_port=0) as server, Tracker(server.grpc_url) as tracker:
            found = measured(tracker, args.clips, args.frames)
    found |= {"clips": args.clips, "frames": args.frames, "side": _SIDE, "rate": TRUTHS, **facts(load)}
    save(args.out, "skipping", found, lines(found))
    (args.out / "skipping.svg").write_text(plot(found), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())

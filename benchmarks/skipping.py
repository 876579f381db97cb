"""What does it cost to track a part of the frames? nano on a real server, drawn test clips with true masks, prompted on the first frame.

Two questions. How good are the masks of every k-th frame, with indices that jump as the frames do (which is what `Video.follow` sends: places in the
memory stay empty), and with indices that are counted on? And, as in streaming perception (Li et al., "Towards Streaming Perception", ECCV 2020): how
well does the newest answer that is there agree with the truth of now, for a camera that is slower and faster than the server? The second is asked of
`follow`'s flow in simulated time, and of a client that sends every frame and falls behind.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks import RESULTS
from benchmarks.report import facts, save, table
from benchmarks.simulated import Answered, SimulatedClient
from masklet import Tracker
from masklet.connection.flow import Flow
from masklet.families import NANO
from masklet_build import nano
from masklet_build.clips import STORIES, Clip, inner_point, make_clip
from masklet_build.quality.measures import boundary_accuracy, region_similarity
from masklet_build.repository.assemble import assemble
from masklet_build.serve import Server

STEPS = (1, 2, 3, 4, 6)
SERVER_S = 0.1  # a frame, in simulated time: only its ratio to the camera's matters
RATIOS = (0.5, 1.0, 2.0, 3.0, 6.0)  # frames of the camera for each that the server makes
_SIDE = 256

Masks = NDArray[np.bool_]


@dataclass
class Tracked:
    """The masks of one clip for any choice of frames, each choice tracked once."""

    tracker: Tracker
    clip: Clip
    _known: dict[tuple[tuple[int, ...], bool], dict[int, Masks]] = field(default_factory=dict)

    def masks(self, frames: Sequence[int], *, jumping: bool = True) -> dict[int, Masks]:
        """By frame: (N, H, W). `jumping`: their indices are their numbers; else they are counted on."""
        key = tuple(frames), jumping
        if key not in self._known:
            with self.tracker.open() as video:
                for object_id, mask in enumerate(self.clip.masks[0], 1):
                    video.prompt(object_id, points=[inner_point(mask)])
                found = {}
                for place, frame in enumerate(frames):
                    found[frame] = video.track(self.clip.frames[frame], frame_index=frame if jumping else place).masks
            self._known[key] = found
        return self._known[key]


def j_and_f(truth: Masks, masks: Masks) -> NDArray[np.float64]:
    """(N,): the mean of J and F of each object."""
    f = [boundary_accuracy(true, mask) for true, mask in zip(truth, masks, strict=True)]
    return (region_similarity(truth, masks) + np.array(f)) / 2


def every(tracked: Tracked, step: int, *, jumping: bool) -> NDArray[np.float64]:
    """(N,): J&F of every `step`-th frame, over the frames that all steps have in common but the first."""
    frames = range(0, len(tracked.clip.frames), step)
    masks = tracked.masks(frames, jumping=jumping)
    common = [frame for frame in frames if frame and frame % np.lcm.reduce(STEPS) == 0]
    return np.mean([j_and_f(tracked.clip.masks[frame], masks[frame]) for frame in common], axis=0)


def followed(frames: int, ratio: float) -> list[Answered]:
    """The frames that `follow` tracks of so many, and when their answers come, in frame times of the camera times its rate."""
    return SimulatedClient(Flow(), ratio / SERVER_S, lambda _: SERVER_S, transport_s=0.0).play(frames).answers


def queued(frames: int, ratio: float) -> list[Answered]:
    """The same for a client that tracks every frame, one after the other."""
    rate, free, made = ratio / SERVER_S, 0.0, []
    for index in range(frames):
        free = max(free, index / rate) + SERVER_S
        made.append(Answered(index, index / rate, free, SERVER_S))
    return made


def newest_at(answers: Sequence[Answered], now: float) -> int | None:
    """The frame of the newest answer that is there; None before the first."""
    return max((one.index for one in answers if one.answered <= now), default=None)


def streaming(tracked: Tracked, answers: Sequence[Answered], ratio: float) -> tuple[NDArray[np.float64], NDArray[np.float64], float]:
    """(N,) J&F of the newest answer against now, and of each answer against its own frame; and the mean age of what is shown, in camera frames.

    Counted from the moment when the first answer is there.
    """
    masks, truth = tracked.masks([one.index for one in answers]), tracked.clip.masks
    shown = [(frame, newest_at(answers, frame * SERVER_S / ratio)) for frame in range(len(truth))]
    pairs = [(frame, newest) for frame, newest in shown if newest is not None]
    now = np.mean([j_and_f(truth[frame], masks[newest]) for frame, newest in pairs], axis=0)
    own = np.mean([j_and_f(truth[one.index], masks[one.index]) for one in answers if one.index], axis=0)
    return now, own, float(np.mean([frame - newest for frame, newest in pairs]))


def mean_and_error(values: NDArray[np.float64]) -> dict[str, float]:
    """Of objects: the mean and its standard error."""
    return {"mean": float(values.mean()), "error": float(values.std(ddof=1) / np.sqrt(len(values))), "count": len(values)}


def measured(clips: Sequence[Tracked], tell: Callable[[str], object]) -> dict[str, Any]:
    """All figures."""
    steps = []
    for step in STEPS:
        jumping, counted = (np.concatenate([every(one, step, jumping=way) for one in clips]) for way in (True, False))
        steps.append(
            {"step": step, "jumping": mean_and_error(jumping), "counted": mean_and_error(counted), "gain": mean_and_error(jumping - counted)}
        )
        tell(f"every {step}. frame")
    live = []
    for ratio in RATIOS:
        row: dict[str, Any] = {"ratio": ratio}
        for name, client in (("follow", followed), ("queue", queued)):
            found = [streaming(one, client(len(one.clip.frames), ratio), ratio) for one in clips]
            now, own = (np.concatenate([one[column] for one in found]) for column in (0, 1))
            row[name] = {"now": mean_and_error(now), "own": mean_and_error(own), "age": float(np.mean([one[2] for one in found]))}
        live.append(row)
        tell(f"{ratio:g} frames of the camera for each of the server's")
    moves = [np.abs(np.diff(_centres(one.clip.masks), axis=0)) for one in clips]
    return {"steps": steps, "live": live, "pixels_per_frame": float(np.nanmedian([np.nanmedian(np.linalg.norm(move, axis=-1)) for move in moves]))}


def _centres(masks: Masks) -> NDArray[np.float64]:
    """(T, N, 2): where objects are, pixels; NaN where they are not."""
    y, x = np.mgrid[: masks.shape[2], : masks.shape[3]]
    areas = np.where((sizes := masks.sum(axis=(2, 3))) > 0, sizes, np.nan)
    return np.stack([(masks * x).sum(axis=(2, 3)) / areas, (masks * y).sum(axis=(2, 3)) / areas], axis=-1)


def lines(found: dict[str, Any]) -> list[str]:
    """The report."""

    def shown(one: dict[str, float]) -> str:
        return f"{one['mean']:.3f} ± {one['error']:.3f}"

    def cells(one: dict[str, Any]) -> tuple[str, str, str]:
        return shown(one["now"]), shown(one["own"]), f"{one['age']:.1f}"

    steps = [(one["step"], shown(one["jumping"]), shown(one["counted"]), shown(one["gain"])) for one in found["steps"]]
    live = [(f"{one['ratio']:g}", *(cell for name in ("follow", "queue") for cell in cells(one[name]))) for one in found["live"]]
    objects = found["steps"][0]["jumping"]["count"]
    return [
        "# What skipping frames does to masks",
        "",
        f"J&F of `nano` on {found['clips']} drawn test clips of {found['frames']} frames, {_SIDE} x {_SIDE}, {objects} objects, one click each on "
        f"the first frame; mean and standard error over objects. Objects move {found['pixels_per_frame']:.1f} pixels from frame to frame (median).",
        "",
        f"Every k-th frame, compared on the frames that all have in common (every {np.lcm.reduce(STEPS)}th):",
        "",
        *table(["k", "indices jump (`follow`)", "indices counted on", "difference"], steps),
        "The newest answer against now. The camera gives so many frames in the time that the server takes for one; *age*: frames of the camera "
        "between what is shown and now.",
        "",
        *table(["camera : server", "`follow`: now", "own frame", "age", "every frame, queued: now", "own frame", "age"], live),
        "![J&F of the newest answer against now](skipping.svg)",
        "",
    ]


def plot(found: dict[str, Any]) -> str:
    """The newest answer against now, by the camera's rate, as SVG."""
    width, height, left, low, high = 640, 300, 60, 0.0, 1.0
    places = {ratio: left + 40 + index * (width - left - 80) / (len(RATIOS) - 1) for index, ratio in enumerate(RATIOS)}

    def y(value: float) -> float:
        return 40 + (height - 80) * (high - value) / (high - low)

    parts = [f'<text x="{left}" y="20" font-weight="600">J&amp;F of the newest answer against now</text>']
    for value in (0.0, 0.2, 0.4, 0.6, 0.8, 1.0):
        parts.append(f'<line x1="{left}" x2="{width - 10}" y1="{y(value)}" y2="{y(value)}" stroke="#ddd"/>')
        parts.append(f'<text x="{left - 34}" y="{y(value) + 4}">{value:.1f}</text>')
    for ratio, x in places.items():
        parts.append(f'<text x="{x}" y="{height - 22}" text-anchor="middle">{ratio:g}</text>')
    parts.append(f'<text x="{width / 2}" y="{height - 4}" text-anchor="middle">frames of the camera for each that the server makes</text>')
    for name, colour, told in (("follow", "#0072b2", "follow"), ("queue", "#d55e00", "every frame, queued")):
        points = [(places[one["ratio"]], y(one[name]["now"]["mean"])) for one in found["live"]]
        parts.append(f'<polyline fill="none" stroke="{colour}" stroke-width="2" points="{" ".join(f"{x:.1f},{top:.1f}" for x, top in points)}"/>')
        parts += [f'<circle cx="{x:.1f}" cy="{top:.1f}" r="3.5" fill="{colour}"/>' for x, top in points]
        parts.append(f'<text x="{points[-2][0] + 8:.1f}" y="{points[-2][1] - 10:.1f}" fill="{colour}">{told}</text>')
    style = "text { font: 13px system-ui, sans-serif }"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}"><style>{style}</style>'
        f'<rect width="100%" height="100%" fill="#fff"/>{"".join(parts)}</svg>\n'
    )


def main() -> int:
    """Returns 0."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.skipping", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, default=18, metavar="N", help="drawn test clips; the stories take turns (default: %(default)s)")
    parser.add_argument("--frames", type=int, default=49, metavar="T", help="of each clip (default: %(default)s)")
    parser.add_argument("--out", type=Path, default=RESULTS, metavar="DIR", help="for skipping.json, .md and .svg (default: benchmarks/results)")
    args = parser.parse_args()
    if args.frames <= np.lcm.reduce(STEPS):
        parser.error(f"--frames must be over {np.lcm.reduce(STEPS)}: the first frame that all steps have in common.")
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory(prefix="masklet-skipping-") as folder:
        repository = assemble(NANO.name, nano.ENGINES, Path(folder) / "repository")
        with Server(repository, grpc_port=0, http_port=0, metrics_port=0) as server, Tracker(server.grpc_url) as tracker:
            drawn = (make_clip("test", n, frames=args.frames, height=_SIDE, width=_SIDE, story=STORIES[n % len(STORIES)]) for n in range(args.clips))
            found = measured([Tracked(tracker, clip) for clip in drawn], lambda text: print(text, file=sys.stderr))
    found |= {"clips": args.clips, "frames": args.frames, **facts(load)}
    save(args.out, "skipping", found, lines(found))
    (args.out / "skipping.svg").write_text(plot(found), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())

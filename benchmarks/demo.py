"""masklet from end to end: Triton is started on our own small model, objects are clicked and tracked through a clip, and what came out is drawn.

The clip is drawn by a program and was never seen in training; one object goes behind another, one leaves and comes back. Its true masks are known,
so the masks get a mark. Your own video has no such mark: --video. Another model needs its official weights and PyTorch: --variant, --checkpoint.
"""

from __future__ import annotations

import argparse
import itertools
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.engines import Say, ready_engines
from benchmarks.pictures import Pictures
from masklet import families
from masklet.cli.failure import Failure
from masklet.errors import MaskletError
from masklet.results import TrackedFrame
from masklet.sources import open_source
from masklet.tracker import Tracker
from masklet.video import Video
from masklet_build import nano
from masklet_build.clips import Clip, inner_point, make_clip
from masklet_build.quality.measures import boundary_accuracy, region_similarity
from masklet_build.repository.assemble import AssembleError, assemble
from masklet_build.serve import ServeError, Server

Frame = NDArray[np.uint8]
Prompt = dict[str, Any]  # of Video.prompt

CLIP = 18  # of the test split: one object goes behind another, one leaves and comes back
CLIP_FRAMES, CLIP_FPS = 60, 12.0


def main() -> int:
    """Runs the demo. Returns the exit code."""
    args = _arguments()
    begin = time.monotonic()

    def say(line: str) -> None:
        print(f"[{time.monotonic() - begin:5.1f} s] {line}", flush=True)

    try:
        demo(args, say)
    except KeyboardInterrupt:
        print("\nstopped; the server is gone, and the engines that were finished are kept for the next time", file=sys.stderr)
        return 130
    except (Failure, MaskletError, AssembleError, ServeError, OSError, ValueError) as error:
        print(f"demo: {error}", file=sys.stderr)
        return 1
    return 0


def own_clip() -> Clip:
    """The clip that is drawn here."""
    return make_clip("test", CLIP, frames=CLIP_FRAMES, height=360, width=480, objects=4, story="return")


def demo(args: argparse.Namespace, say: Say) -> None:
    """Everything, in order."""
    variant = families.variant(args.variant)
    with _source(args, say) as source:
        first = next(source.frames, None)
        if first is None:
            raise Failure(f"{args.video} holds no frames.")
        _check_prompts(source.prompts, first)
        repository = assemble(variant.name, _engines(args, variant, say), args.out / "repository", precision=args.precision, force=True)
        say(f"server: starting Triton on {repository}")
        with Server(repository, grpc_port=0, http_port=0, metrics_port=0) as server, Tracker(server.grpc_url, timeout_s=60) as tracker:
            say(f"server: ready at {server.grpc_url} (gRPC); tracking {_count(source.prompts)}")
            with tracker.open() as video, Pictures(args.out, source.fps, f"{variant.name}: one prompt per object on frame 0") as pictures:
                marks = Marks(source.truth)
                speed = _track(video, itertools.chain([first], source.frames), source.prompts, pictures, marks, say)
        say(f"tracked at {speed:.1f} frames per second, {_count(source.prompts)}, on {os.cpu_count()} CPUs")
    if marks.given:
        say(f"against the true masks: {marks}")
    say(f"look at {pictures.sheet}, {pictures.moving} and {pictures.film}")


def _count(prompts: dict[int, Prompt]) -> str:
    return f"{len(prompts)} object{'s' if len(prompts) > 1 else ''}"


class Marks:
    """J&F of the masks of a clip whose true masks (T, N, H, W) are known: the mean over objects and frames but the first and the last.

    Masks are scored as they come; `masklet-build evaluate` first gives a pixel that several claim to one of them, as DAVIS does.
    """

    def __init__(self, truth: NDArray[np.bool_] | None) -> None:
        self._truth = truth
        self.given: list[tuple[float, float]] = []

    def add(self, result: TrackedFrame) -> None:
        """Marks a frame."""
        if self._truth is None or not 0 < result.frame_index < len(self._truth) - 1:
            return
        for truth, mask in zip(self._truth[result.frame_index], result.masks, strict=True):
            self.given.append((float(region_similarity(truth, mask)), boundary_accuracy(truth, mask)))

    def __str__(self) -> str:
        j, f = np.mean(self.given, axis=0)
        return f"J&F {(j + f) / 2:.3f} (J {j:.3f}, F {f:.3f})"


def _track(video: Video, frames: Iterator[Frame], prompts: dict[int, Prompt], pictures: Pictures, marks: Marks, say: Say) -> float:
    """Tracks and draws. Returns frames per second without the first frame and without the time for drawing."""
    for object_id, prompt in prompts.items():
        video.prompt(object_id, **prompt)
    spent = []
    for frame in frames:
        begin = time.perf_counter()
        result = video.track(frame)
        spent.append(time.perf_counter() - begin)
        pictures.add(frame, result, prompts if len(spent) == 1 else {})
        marks.add(result)
        if len(spent) % 12 == 0:
            say(f"{len(spent)} frames: {_presence(result)}")
    return len(spent[1:]) / sum(spent[1:]) if len(spent) > 1 else 1 / spent[0]


def _presence(result: TrackedFrame) -> str:
    pairs = zip(result.object_ids, result.scores, strict=True)
    return ", ".join(f"object {object_id} {'in view' if score > 0 else 'away'}" for object_id, score in pairs)


def _engines(args: argparse.Namespace, variant: families.Variant, say: Say) -> Path:
    if args.checkpoint is None:
        if variant != families.NANO:
            raise Failure(f"--variant {variant.name} needs its official weights, {variant.checkpoint}: say where the file is by --checkpoint.")
        return nano.ENGINES
    try:
        return ready_engines(args.out, variant, args.checkpoint, say)
    except ImportError as error:
        raise Failure(
            f"the export needs PyTorch and ONNX, but {error.name} is not installed here. Run `make setup`, then .venv/build/bin/python."
        ) from error
    except Exception as error:
        if type(error).__name__ in ("CheckpointError", "ExportError"):  # classes of modules that import torch
            raise Failure(str(error)) from error
        raise


@dataclass(frozen=True)
class Source:
    """Frames (H, W, 3) RGB, frames per second, prompts by object, and the true masks (T, N, H, W) where they are known."""

    frames: Iterator[Frame]
    fps: float
    prompts: dict[int, Prompt]
    truth: NDArray[np.bool_] | None = None


@contextmanager
def _source(args: argparse.Namespace, say: Say) -> Iterator[Source]:
    if args.video is None:
        say(f"clip: drawing {CLIP_FRAMES} frames")
        made = own_clip()
        clicks = {number: {"points": [inner_point(mask)]} for number, mask in enumerate(made.masks[0], 1)}
        yield Source(iter(made.frames), CLIP_FPS, clicks, made.masks)
        return
    with open_source(args.video) as source:
        yield Source((frame.image for frame in itertools.islice(source, args.max_frames)), source.fps, _given(args))


def _given(args: argparse.Namespace) -> dict[int, Prompt]:
    prompts: list[Prompt] = [*({"points": [point]} for point in args.point), *({"box": box} for box in args.box)]
    return dict(enumerate(prompts, 1))


def _check_prompts(prompts: dict[int, Prompt], frame: Frame) -> None:
    height, width = frame.shape[:2]
    for prompt in prompts.values():
        for x, y in np.reshape(prompt.get("points", prompt.get("box")), (-1, 2)).tolist():
            if not (0 <= x <= width and 0 <= y <= height):
                raise Failure(f"{x:g},{y:g} is not in the frame, which is {width} wide and {height} high.")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--out", type=Path, required=True, metavar="DIR", help="engines, model repository and pictures; a second run uses the engines again"
    )
    parser.add_argument("--checkpoint", type=Path, metavar="FILE", help="official checkpoint of --variant (nano has its own)")
    parser.add_argument("--variant", choices=families.VARIANTS, default="nano", metavar="NAME", help="(default: %(default)s)")
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="fp32", help="bf16 is faster where the CPU has it (default: %(default)s)")
    parser.add_argument("--video", metavar="FILE_OR_FOLDER", help="your own video or folder of images, instead of a clip drawn here")
    parser.add_argument(
        "--point", type=_numbers(2), action="append", default=[], metavar="X,Y", help="an object of your video, by a click on it (repeatable)"
    )
    parser.add_argument(
        "--box", type=_numbers(4), action="append", default=[], metavar="X0,Y0,X1,Y1", help="an object, by a box around it (repeatable)"
    )
    parser.add_argument("--max-frames", type=int, default=60, metavar="N", help="of your video (default: %(default)s)")
    args = parser.parse_args()
    if args.video is None and (args.point or args.box):
        parser.error("--point and --box are for your own --video.")
    if args.video is not None and not (args.point or args.box):
        parser.error("say what to track in your video: --point X,Y or --box X0,Y0,X1,Y1, in pixels of its first frame.")
    if args.max_frames < 1:
        parser.error(f"--max-frames {args.max_frames}: at least 1.")
    return args


def _numbers(count: int) -> Any:
    def numbers(text: str) -> tuple[float, ...]:
        values = tuple(float(word) for word in text.split(","))
        if len(values) != count:
            raise ValueError
        return values

    return numbers


if __name__ == "__main__":
    sys.exit(main())

"""masklet from end to end: a model is exported, Triton started, objects are tracked through a clip, and what came out is drawn.

Without a checkpoint the weights are random: all is computed as with trained ones, but the masks mean nothing. See --checkpoint.
"""

from __future__ import annotations

import argparse
import itertools
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clips import bounding_box, clip, inner_point
from engines import Say, random_weights, ready_engines
from masklet import families
from masklet.cli.failure import Failure
from masklet.cli.sources import open_source
from masklet.errors import MaskletError
from masklet.results import TrackedFrame
from masklet.tracker import Tracker, Video
from masklet_build.assemble import AssembleError, assemble
from masklet_build.serve import ServeError, Server
from pictures import Pictures

Frame = NDArray[np.uint8]
Prompt = dict[str, Any]  # of Video.prompt

OWN_FRAMES = 36  # of the clip that is drawn here


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


def demo(args: argparse.Namespace, say: Say) -> None:
    """Everything, in order."""
    variant = families.variant(args.variant)
    with _source(args) as (frames, fps, prompts):
        first = next(frames, None)
        if first is None:
            raise Failure(f"{args.video} holds no frames.")
        _check_prompts(prompts, first)
        engines = _engines(args.out, variant, args.checkpoint, say)
        note = "RANDOM WEIGHTS: these masks mean nothing, only that it runs" if random_weights(engines) else f"{variant.name}, {args.checkpoint.name}"
        repository = assemble(variant.name, engines, args.out / "repository", precision=args.precision, force=True)
        say(f"server: starting Triton on {repository}")
        with Server(repository, grpc_port=0, http_port=0, metrics_port=0) as server, Tracker(server.grpc_url, timeout_s=60) as tracker:
            say(f"server: ready at {server.grpc_url} (gRPC); tracking {len(prompts)} object{'s' if len(prompts) > 1 else ''}")
            with tracker.open() as video, Pictures(args.out, fps, note) as pictures:
                speed = _track(video, itertools.chain([first], frames), prompts, pictures, say)
        say(f"tracked at {speed:.1f} frames per second, {len(prompts)} object{'s' if len(prompts) > 1 else ''}, on {os.cpu_count()} CPUs")
    if random_weights(engines):
        say("the weights are RANDOM, so the masks mean nothing. With a trained checkpoint: --checkpoint FILE --variant NAME")
    say(f"look at {pictures.sheet} and {pictures.film}")


def _track(video: Video, frames: Iterator[Frame], prompts: dict[int, Prompt], pictures: Pictures, say: Say) -> float:
    """Tracks and draws. Returns frames per second without the first frame and without the time for drawing."""
    for object_id, prompt in prompts.items():
        video.prompt(object_id, **prompt)
    spent = []
    for frame in frames:
        begin = time.perf_counter()
        result = video.track(frame)
        spent.append(time.perf_counter() - begin)
        pictures.add(frame, result, prompts if len(spent) == 1 else {})
        if len(spent) % 12 == 0:
            say(f"{len(spent)} frames: {_presence(result)}")
    return len(spent[1:]) / sum(spent[1:]) if len(spent) > 1 else 1 / spent[0]


def _presence(result: TrackedFrame) -> str:
    pairs = zip(result.object_ids, result.scores, strict=True)
    return ", ".join(f"object {object_id} {'in view' if score > 0 else 'away'}" for object_id, score in pairs)


def _engines(out: Path, variant: families.Variant, checkpoint: Path | None, say: Say) -> Path:
    try:
        return ready_engines(out, variant, checkpoint, say)
    except ImportError as error:
        raise Failure(f"the export needs PyTorch and ONNX, but {error.name} is not installed here. Run `make demo`.") from error
    except Exception as error:
        if type(error).__name__ in ("CheckpointError", "ExportError"):  # classes of modules that import torch
            raise Failure(str(error)) from error
        raise


@contextmanager
def _source(args: argparse.Namespace) -> Iterator[tuple[Iterator[Frame], float, dict[int, Prompt]]]:
    """Frames, frames per second and prompts by object."""
    if args.video is None:
        made = clip(seed=3, frames=OWN_FRAMES)
        yield iter(made.frames), 12.0, _three_ways(made.masks[0])
        return
    with open_source(args.video) as source:
        yield itertools.islice(source.frames, args.max_frames), source.fps, _given(args)


def _three_ways(masks: NDArray[np.bool_]) -> dict[int, Prompt]:
    """A click, a box and a mask on the three objects of the clip."""
    return {1: {"points": [inner_point(masks[0])]}, 2: {"box": bounding_box(masks[1])}, 3: {"mask": masks[2]}}


def _given(args: argparse.Namespace) -> dict[int, Prompt]:
    prompts: list[Prompt] = [*({"points": [point]} for point in args.point), *({"box": box} for box in args.box)]
    return dict(enumerate(prompts, 1))


def _check_prompts(prompts: dict[int, Prompt], frame: Frame) -> None:
    height, width = frame.shape[:2]
    for prompt in prompts.values():
        if "mask" in prompt:
            continue
        for x, y in np.reshape(prompt.get("points", prompt.get("box")), (-1, 2)).tolist():
            if not (0 <= x <= width and 0 <= y <= height):
                raise Failure(f"{x:g},{y:g} is not in the frame, which is {width} wide and {height} high.")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--out", type=Path, required=True, metavar="DIR", help="engines, model repository and pictures; a second run uses the engines again"
    )
    parser.add_argument("--checkpoint", type=Path, metavar="FILE", help="official checkpoint of --variant")
    parser.add_argument("--variant", choices=families.VARIANTS, default="efficienttam_ti_512", metavar="NAME", help="(default: %(default)s)")
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

"""Frames per second of one video through the server, beside plain eager PyTorch and beside the bare engines, on the same threads of this CPU.

The three take turns in short blocks, so that whatever slows the machine slows all of them: read the ratios, not the milliseconds.
"""

from __future__ import annotations

import argparse
import itertools
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from bare import BareEngines, steady_inputs
from eager import Eager, EagerVideo
from engines import Say, ready_engines
from masklet import families
from masklet.tracker import Tracker, Video
from masklet_build.assemble import PRECISIONS, assemble
from masklet_build.checkpoints import load_checkpoint
from masklet_build.clips import inner_point, make_clip
from masklet_build.serve import Server
from masklet_build.torch_stages import TorchStages
from peak import peaks
from report import Result, write
from stagewise import differences

RESULTS = Path(__file__).parent / "results"
VARIANT = families.variant("efficienttam_ti_512")
STEADY = 20  # frames after which every memory and pointer is in place
REST_S = 0.2  # between blocks, until the threads of the one before have stopped waiting for work


@dataclass
class Setting:
    """What all three track: so many objects of one clip, frames back and forth for ever."""

    objects: int
    height: int = 360
    width: int = 640
    frames: list[np.ndarray] = field(init=False)
    clicks: list[tuple[int, int]] = field(init=False)

    def __post_init__(self) -> None:
        made = make_clip("test", 1, frames=16, height=self.height, width=self.width, objects=self.objects)
        self.frames, self.clicks = list(made.frames), [inner_point(mask) for mask in made.masks[0]]

    def later_frames(self) -> Iterator[np.ndarray]:
        """The frames after the first."""
        return itertools.islice(itertools.cycle([*self.frames, *self.frames[-2:0:-1]]), 1, None)


Block = Callable[[Result], None]


def server_block(video: Video, setting: Setting, count: int) -> Block:
    """Tracks through the server, one frame on its way at a time; raw frames as `masklet track` sends them."""
    for object_id, point in enumerate(setting.clicks, 1):
        video.prompt(object_id, points=[point])
    frames = setting.later_frames()
    video.track(setting.frames[0])
    for _ in range(STEADY):
        video.track(next(frames))

    def run(result: Result) -> None:
        for frame in itertools.islice(frames, count):
            begin = time.perf_counter()
            answer = video.track(frame)
            result.server.append(1000 * (time.perf_counter() - begin))
            result.timing.append(dict(answer.timing))

    return run


def eager_video(model: Eager, setting: Setting) -> tuple[EagerVideo, list[Tensor]]:
    """One object tracked by `eager` until its memory is full, and the frames, resized and normalised beforehand as the official predictor does."""
    side = VARIANT.image_size
    images = [np.array(Image.fromarray(frame).resize((side, side))) for frame in setting.frames]
    x, y = setting.clicks[0]
    video = EagerVideo(model, setting.height, setting.width)
    video.click(images[0], [(x * side / setting.width, y * side / setting.height)])
    pixels = [model.normalised(image) for image in images]
    for frame in itertools.islice(itertools.cycle(pixels), 1, STEADY + 1):
        video.track(frame)
    return video, pixels


def eager_block(video: EagerVideo, pixels: list[Tensor], setting: Setting, count: int) -> Block:
    """Tracks copies of the one object: each costs what another object would."""
    video.repeat(setting.objects)
    frames = itertools.cycle(pixels)

    def run(result: Result) -> None:
        for frame in itertools.islice(frames, count):
            begin = time.perf_counter()
            video.track(frame)
            result.eager.append(1000 * (time.perf_counter() - begin))

    return run


def bare_block(engines: BareEngines, setting: Setting, count: int) -> Block:
    """Runs the engines alone, all objects in one call as the server does."""
    inputs = steady_inputs(VARIANT, setting.objects)
    engines.frame_ms(inputs)

    def run(result: Result) -> None:
        for _ in range(count):
            result.bare.append(engines.frame_ms(inputs))

    return run


def measure(blocks: dict[str, Block], rounds: int, result: Result, say: Say) -> None:
    """Lets the blocks take turns, in another order each round."""
    order = list(blocks)
    for number in range(rounds):
        for name in order:
            time.sleep(REST_S)
            blocks[name](result)
        result.end_round()
        order = [*order[1:], order[0]]
        say(f"  round {number + 1} of {rounds}: {result.line()}")


def run(args: argparse.Namespace, folder: Path, say: Say) -> list[Result]:
    """All precisions and numbers of objects."""
    engines = ready_engines(folder, VARIANT, None, say)
    model = checked_eager(folder, args.threads, say)
    say("eager PyTorch: tracking until its memory is full")
    eager = eager_video(model, Setting(1))  # before the server starts, which forgets a video that waits for too long
    results = []
    for precision in args.precision:
        repository = assemble(VARIANT.name, engines, folder / "repository", precision=precision, threads=args.threads, force=True)
        bare = BareEngines(engines, precision, args.threads)
        with Server(repository, grpc_port=0, http_port=0, metrics_port=0) as server, Tracker(server.grpc_url, timeout_s=120) as tracker:
            for objects in args.objects:
                say(f"{precision}, {objects} object(s): warming up")
                setting, result = Setting(objects), Result(precision, objects)
                with tracker.open() as video:
                    blocks = {
                        "server": server_block(video, setting, 8),
                        "eager": eager_block(*eager, setting, 3 if objects == 1 else 2),
                        "bare": bare_block(bare, setting, 4),
                    }
                    measure(blocks, args.rounds, result, say)
                results.append(result)
    return results


def checked_eager(folder: Path, threads: int, say: Say) -> Eager:
    """The plain PyTorch model on the same weights, after it has shown that it computes what masklet's stages compute."""
    torch.set_num_threads(threads)
    (checkpoint,) = folder.glob("random-*.pt")
    state = load_checkpoint(checkpoint, VARIANT)
    model = Eager(state, VARIANT)
    family = VARIANT.family
    found = differences(model, TorchStages(state, VARIANT), frames=family.num_memories, pointers=family.num_pointers, seed=1)
    say("eager PyTorch beside masklet's stages, largest difference: " + ", ".join(f"{name} {value:.1e}" for name, value in found.items()))
    if max(found.values()) > 1e-3:
        raise SystemExit("speed: eager PyTorch does not compute the same, so its speed means nothing. Run the tests in tests/benchmarks.")
    return model


def main() -> int:
    """Runs the benchmark. Returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--precision", nargs="+", choices=PRECISIONS, default=list(PRECISIONS), help="of the server and the bare engines; PyTorch: fp32"
    )
    parser.add_argument("--objects", nargs="+", type=int, default=[1, 4], metavar="N", help="in the video (default: 1 4)")
    parser.add_argument("--rounds", type=int, default=10, metavar="N", help="turns that each of the three gets (default: %(default)s)")
    parser.add_argument("--threads", type=int, default=2, metavar="N", help="and the CPUs that all processes are kept on (default: %(default)s)")
    parser.add_argument("--out", type=Path, default=RESULTS, metavar="DIR", help="for speed.json and speed.md (default: benchmarks/results)")
    args = parser.parse_args()
    cpus = sorted(os.sched_getaffinity(0))
    if not 1 <= args.threads <= len(cpus):
        parser.error(f"--threads {args.threads}: this process may use {len(cpus)} CPUs.")
    os.sched_setaffinity(0, cpus[: args.threads])  # children inherit it
    load = os.getloadavg()[0]
    try:
        with tempfile.TemporaryDirectory(prefix="masklet-speed-") as folder:
            best = peaks(args.threads)
            results = run(args, Path(folder), lambda line: print(line, flush=True))
    except KeyboardInterrupt:
        print("\nstopped; nothing was written", file=sys.stderr)
        return 130
    write(args.out, VARIANT.name, results, peaks=best, threads=args.threads, load=load)
    return 0


if __name__ == "__main__":
    sys.exit(main())

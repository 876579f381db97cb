"""Frames per second of one video through the server, beside plain eager PyTorch and beside the bare engines, on the same threads of this CPU.

The three take turns in short blocks, so that whatever slows the machine slows all of them: read the ratios, not the milliseconds.
"""

from __future__ import annotations

import argparse
import itertools
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from torch import Tensor

from benchmarks import RESULTS
from benchmarks.arithmetic import frame_gflop
from benchmarks.bare import BareEngines, steady_inputs
from benchmarks.eager import EagerVideo
from benchmarks.eager_videos import checked_eager, steady_eager
from benchmarks.engines import Say, ready_engines
from benchmarks.peak import peaks
from benchmarks.report import Result, write
from benchmarks.steady import STEADY, Setting, keep_to, take_turns
from masklet import families
from masklet.tracker import Tracker, Video
from masklet_build.repository.assemble import PRECISIONS, assemble
from masklet_build.serve import Server

VARIANT = families.variant("efficienttam_ti_512")

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


def eager_block(video: EagerVideo, pixels: list[Tensor], setting: Setting, count: int) -> Block:
    """Tracks copies of the one object: each costs what another object would."""
    video = video.copy(setting.objects)
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


def run(args: argparse.Namespace, folder: Path, say: Say) -> list[Result]:
    """All precisions and numbers of objects."""
    engines = ready_engines(folder, VARIANT, None, say)
    (checkpoint,) = folder.glob("random-*.pt")
    model = checked_eager(checkpoint, VARIANT, args.threads, say)
    say("eager PyTorch: tracking until its memory is full")
    eager = steady_eager(model, Setting(1))  # before the server starts, which forgets a video that waits for too long
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
                    take_turns({name: partial(block, result) for name, block in blocks.items()}, args.rounds, partial(end_round, result, say))
                results.append(result)
    return results


def end_round(result: Result, say: Say, number: int) -> None:
    """Every block has had its turn."""
    result.end_round()
    say(f"  round {number}: {result.line()}")


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
    load = keep_to(args.threads, parser)
    try:
        with tempfile.TemporaryDirectory(prefix="masklet-speed-") as folder:
            best = peaks(args.threads)
            results = run(args, Path(folder), lambda line: print(line, flush=True))
            (checkpoint,) = Path(folder).glob("random-*.pt")
            gflop = {str(objects): frame_gflop(checkpoint, VARIANT, objects) for objects in args.objects}
    except KeyboardInterrupt:
        print("\nstopped; nothing was written", file=sys.stderr)
        return 130
    write(args.out, VARIANT.name, results, peaks=best, gflop=gflop, threads=args.threads, load=load)
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""How many frames per second does one server answer for many videos of nano, and what does batching across videos give?

Three take turns in short blocks: the server, the same server whose engines take one frame and one object at a time, and eager PyTorch going from
video to video in one process. Read the ratios, not the frames per second.
"""

from __future__ import annotations

import argparse
import itertools
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from tritonclient.grpc import InferenceServerClient

from benchmarks import RESULTS
from benchmarks.arithmetic import frame_gflop
from benchmarks.bare import BareEngines, steady_inputs
from benchmarks.crowd import IN_FLIGHT, Crowd
from benchmarks.eager import Eager, EagerVideo
from benchmarks.eager_videos import checked_eager, clicked_eager, steady_eager
from benchmarks.engines import Say
from benchmarks.many_report import SERVERS, Lengths, Scale, Work, alone, draw, markdown
from benchmarks.peak import peaks
from benchmarks.report import facts, save
from benchmarks.steady import Setting, keep_to, take_turns
from benchmarks.triton_times import between, cpu_s, engine_calls, read, server_cpu_s
from masklet.families import NANO
from masklet.tracker import Tracker
from masklet_build import nano
from masklet_build.repository.assemble import PRECISIONS, assemble
from masklet_build.repository.configs import read_config, write_config
from masklet_build.serve import Server

SIDE = 256  # pixels of the frames, each way; they travel as JPEG
PER_VIDEO, AT_LEAST = 12, 48  # frames of a block: of each video, and of all together
EAGER_FRAMES = 8  # of all videos together, at least
LENGTH = 24  # frames after the clicked one: past that nothing more is remembered
BATCHES = (1, 2, 4, 8)
CALLS = 4  # of the bare engines, in a block


def repository(out: Path, precision: str, threads: int, *, limited: bool) -> Path:
    """Nano's repository, whose videos may be silent while others have their turn. `limited`: engines take one frame and one object at a time."""
    settings = {"memory_bank.idle_seconds": "3600"} | ({"memory_bank.max_engine_batch": "1"} if limited else {})
    assemble(NANO.name, nano.ENGINES, out, precision=precision, threads=threads, settings=settings)
    if limited:
        config = read_config(out / "image_encoder")  # the one engine that Triton batches; the bank batches for the others
        config.max_batch_size = 1
        write_config(out / "image_encoder", config)
    return out


def server_block(server: Server, crowd: Crowd, videos: int) -> Callable[[], tuple[float, Work]]:
    """Gives frames per second, and what the server did for them."""
    frames = max(PER_VIDEO, AT_LEAST // videos)

    def run() -> tuple[float, Work]:
        with InferenceServerClient(server.grpc_url) as client:
            before, calls_before, cpu_before = read(client), engine_calls(server), _cpu(server, crowd)
            seconds = crowd.track(frames)
            counts, calls, cpu = between(before, read(client)), engine_calls(server), _cpu(server, crowd)
        executions = {name: count.executions for name, count in counts.items()} | {name: calls[name] - calls_before.get(name, 0) for name in calls}
        return videos * frames / seconds, Work(videos * frames, executions, {name: cpu[name] - cpu_before[name] for name in cpu})

    return run


def _cpu(server: Server, crowd: Crowd) -> dict[str, float]:
    return {**server_cpu_s(server), "clients": cpu_s([crowd.pid])}


def eager_block(model_videos: list[EagerVideo], frames: Iterator[Any]) -> Callable[[], float]:
    """Gives frames per second: one frame of each video after the other, as often as fits."""
    passes = -(-EAGER_FRAMES // len(model_videos))

    def run() -> float:
        begin = time.perf_counter()
        for frame in itertools.islice(frames, passes):
            for video in model_videos:
                video.track(frame)
        return passes * len(model_videos) / (time.perf_counter() - begin)

    return run


def scaled(servers: Mapping[str, Server], eager: tuple[EagerVideo, list[Any]], scale: Scale, rounds: int, say: Say) -> None:
    """Measures one number of videos and objects."""
    setting = Setting(scale.objects, SIDE, SIDE)
    with ExitStack() as stack:
        crowds = {way: stack.enter_context(Crowd(server.grpc_url, scale.videos, setting)) for way, server in servers.items()}
        serve = {way: server_block(servers[way], crowds[way], scale.videos) for way in SERVERS}
        loop = eager_block([eager[0].copy(scale.objects) for _ in range(scale.videos)], itertools.cycle(eager[1]))

        def turn(way: str) -> None:
            waiting = [server for name, server in servers.items() if name != way]
            begin, cpu = time.perf_counter(), sum(sum(server_cpu_s(server).values()) for server in waiting)
            if way == "eager":
                scale.fps[way].append(loop())
            else:
                fps, work = serve[way]()
                scale.fps[way].append(fps)
                scale.work[way].append(work)
            idle = sum(sum(server_cpu_s(server).values()) for server in waiting) - cpu
            scale.idle.append(idle / (time.perf_counter() - begin))

        take_turns({way: partial(turn, way) for way in scale.fps}, rounds, lambda number: None)
    say(f"  {scale.videos} video(s) of {scale.objects} object(s): {scale.line()}")


def memory_length(url: str, model: Eager, rounds: int) -> Lengths:
    """The time of every frame of short videos, through the server and through eager PyTorch in turn."""
    setting, lengths = Setting(1, SIDE, SIDE), Lengths()

    def server() -> None:
        first, later = setting.files()
        lengths.server.append([])
        lengths.attention.append([])
        with Tracker(url, timeout_s=120) as tracker, tracker.open() as video:
            video.prompt(1, points=[setting.clicks[0]])
            video.track(first)
            for frame in itertools.islice(later, LENGTH):
                begin = time.perf_counter()
                answer = video.track(frame)
                lengths.server[-1].append(1000 * (time.perf_counter() - begin))
                lengths.attention[-1].append(answer.timing["memory_attention"])

    def eager() -> None:
        video, pixels = clicked_eager(model, setting)
        lengths.eager.append([])
        for frame in itertools.islice(itertools.cycle(pixels), 1, LENGTH + 1):
            begin = time.perf_counter()
            video.track(frame)
            lengths.eager[-1].append(1000 * (time.perf_counter() - begin))

    take_turns({"server": server, "eager": eager}, rounds, lambda number: None)
    return lengths


def engines_alone(precision: str, threads: int, rounds: int) -> dict[int, list[dict[str, float]]]:
    """Milliseconds of a call of each engine for so many videos of one object: batch -> the medians of each round."""
    engines = BareEngines(nano.ENGINES, precision, threads)
    inputs = {batch: steady_inputs(NANO, batch, videos=batch) for batch in BATCHES}
    found: dict[int, list[dict[str, float]]] = {batch: [] for batch in BATCHES}

    def turn(batch: int) -> None:
        calls = [engines.frame_ms(inputs[batch]) for _ in range(CALLS + 1)][1:]  # the first one makes room for another size
        found[batch].append({name: float(np.median([call[name] for call in calls])) for name in calls[0]})

    take_turns({str(batch): partial(turn, batch) for batch in BATCHES}, rounds, lambda number: None)
    return found


def run(args: argparse.Namespace, folder: Path, say: Say) -> dict[str, Any]:
    """All of it."""
    model = checked_eager(nano.CHECKPOINT, NANO, args.threads, say)
    eager = steady_eager(model, Setting(1, SIDE, SIDE))
    engines = engines_alone(args.precision, args.threads, args.rounds)
    with ExitStack() as stack:
        servers = {}
        for way in SERVERS:
            made = repository(folder / way, args.precision, args.threads, limited=way == "limit_1")
            servers[way] = stack.enter_context(Server(made, grpc_port=0, http_port=0, metrics_port=0))
        scales = [Scale(videos, objects) for objects in args.objects for videos in args.videos]
        for scale in scales:
            scaled(servers, eager, scale, args.rounds, say)
        lengths = memory_length(servers["batched"].grpc_url, model, args.rounds)
    return {
        "variant": NANO.name,
        "precision": args.precision,
        "frames": f"{SIDE}x{SIDE} JPEG",
        "in_flight": IN_FLIGHT,
        "scales": [scale.summary() for scale in scales],
        "gflop": {str(objects): frame_gflop(nano.CHECKPOINT, NANO, objects) for objects in args.objects},
        "matrix_product_gflops": peaks(args.threads),
        "engines_alone": alone(engines),
        "memory_length_ms": lengths.summary(),
    }


def main() -> int:
    """Runs the benchmark. Returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--videos", nargs="+", type=int, default=[1, 2, 4, 8, 16], metavar="N", help="at a time (default: 1 2 4 8 16)")
    parser.add_argument("--objects", nargs="+", type=int, default=[1, 4], metavar="N", help="in each video (default: 1 4)")
    parser.add_argument("--precision", choices=PRECISIONS, default="fp32", help="of the servers; PyTorch: fp32 (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=8, metavar="N", help="turns that each of the three gets (default: %(default)s)")
    parser.add_argument("--threads", type=int, default=2, metavar="N", help="and the CPUs that all processes are kept on (default: %(default)s)")
    parser.add_argument("--out", type=Path, default=RESULTS, metavar="DIR", help="for many_videos.json, .md, .svg (default: benchmarks/results)")
    args = parser.parse_args()
    load = keep_to(args.threads, parser)
    try:
        with tempfile.TemporaryDirectory(prefix="masklet-many-") as folder:
            content = run(args, Path(folder), lambda line: print(line, flush=True))
    except KeyboardInterrupt:
        print("\nstopped; nothing was written", file=sys.stderr)
        return 130
    content |= facts(args.threads, load)
    name = "many_videos" if args.precision == "fp32" else f"many_videos_{args.precision}"
    save(args.out, name, content, markdown(content))
    draw(content, args.out / f"{name}.svg")
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""How many frames per second does one server answer for many videos of nano, and what does batching across videos give?

They take turns in short blocks: the server, the same server whose engines take one frame and one object at a time, and the ways that PyTorch has in
the same precision, which go from video to video in one process. Read the ratios, not the frames per second.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import torch
from tritonclient.grpc import InferenceServerClient

from benchmarks import RESULTS
from benchmarks.baseline import Baseline, Video, baseline
from benchmarks.comparisons import SERVERS, Scale, Work, many_videos_tables
from benchmarks.crowd import IN_FLIGHT, Crowd
from benchmarks.engines import Say
from benchmarks.floor import frame_gflop, peaks
from benchmarks.report import facts, save
from benchmarks.steady import STEADY, Setting, keep_to, take_turns
from benchmarks.triton_times import between, cpu_s, engine_calls, read, server_cpu_s
from masklet.families import NANO
from masklet_build import nano
from masklet_build.repository.assemble import PRECISIONS, assemble
from masklet_build.repository.configs import read_config, write_config
from masklet_build.serve import Server

SIDE = 256  # pixels of the frames, each way; they travel as JPEG
PER_VIDEO, AT_LEAST = 12, 48  # frames of a block: of each video, and of all together
TORCH_FRAMES = 8  # of all videos together, at least


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


def torch_block(videos: Sequence[Video]) -> Callable[[], float]:
    """Gives frames per second: one frame of each video after the other, as often as fits."""
    passes = -(-TORCH_FRAMES // len(videos))

    def run() -> float:
        with videos[0].block():
            videos[0].track()  # casts weights
            begin = time.perf_counter()
            for _ in range(passes):
                for video in videos:
                    video.track()
            return passes * len(videos) / (time.perf_counter() - begin)

    return run


def full(model: Baseline, setting: Setting) -> Video:
    """A video of PyTorch whose memory is full."""
    video = model.begin(setting)
    with video.block():
        for _ in range(STEADY):
            video.track()
    return video


def scaled(servers: Mapping[str, Server], video: Video, setting: Setting, videos: int, rounds: int, say: Say) -> dict[str, Any]:
    """Measures one number of videos and objects. video: of PyTorch, with the objects of `setting`."""
    torch_ways = {way: torch_block(twins) for way, twins in video.late(videos).items()}
    for way in torch_ways.values():
        way()  # compiles
    scale = Scale(videos, setting.objects, {way: [] for way in (*SERVERS, *torch_ways)})
    with ExitStack() as stack:
        crowds = {way: stack.enter_context(Crowd(server.grpc_url, videos, setting)) for way, server in servers.items()}
        serve = {way: server_block(servers[way], crowds[way], videos) for way in SERVERS}

        def turn(way: str) -> None:
            waiting = [server for name, server in servers.items() if name != way]
            begin, cpu = time.perf_counter(), sum(sum(server_cpu_s(server).values()) for server in waiting)
            if way in torch_ways:
                scale.fps[way].append(torch_ways[way]())
            else:
                fps, work = serve[way]()
                scale.fps[way].append(fps)
                scale.work[way].append(work)
            idle = sum(sum(server_cpu_s(server).values()) for server in waiting) - cpu
            scale.idle.append(idle / (time.perf_counter() - begin))

        take_turns({way: partial(turn, way) for way in scale.fps}, rounds, lambda number: None)
    say(f"  {videos} video(s) of {setting.objects} object(s): {scale.line()}")
    return scale.summary()


def run(args: argparse.Namespace, folder: Path, say: Say) -> dict[str, Any]:
    """All of it."""
    torch.set_num_threads(args.threads)
    model = baseline(NANO, nano.CHECKPOINT, args.precision)
    with ExitStack() as stack:
        servers = {}
        for way in SERVERS:
            made = repository(folder / way.replace(" ", "_"), args.precision, args.threads, limited=way == "limit 1")
            servers[way] = stack.enter_context(Server(made, grpc_port=0, http_port=0, metrics_port=0))
        scales = []
        for objects in args.objects:
            setting = Setting(objects, SIDE, SIDE)
            video = full(model, setting)
            scales += [scaled(servers, video, setting, videos, args.rounds, say) for videos in args.videos]
    return {
        "variant": NANO.name,
        "precision": args.precision,
        "frames": f"{SIDE}x{SIDE} JPEG",
        "in_flight": IN_FLIGHT,
        "scales": scales,
        "gflop": {str(objects): sum(frame_gflop(nano.CHECKPOINT, NANO, objects).values()) for objects in args.objects},
        "peaks": peaks(args.threads),
    }


def main() -> int:
    """Runs the benchmark. Returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--videos", nargs="+", type=int, default=[1, 2, 4, 8, 16], metavar="N", help="at a time (default: 1 2 4 8 16)")
    parser.add_argument("--objects", nargs="+", type=int, default=[1, 4], metavar="N", help="in each video (default: 1 4)")
    parser.add_argument("--precision", choices=PRECISIONS, default="fp32", help="of all ways (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=8, metavar="N", help="turns that each gets (default: %(default)s)")
    parser.add_argument("--threads", type=int, default=2, metavar="N", help="and the CPUs that all processes are kept on (default: %(default)s)")
    parser.add_argument("--out", type=Path, default=RESULTS, metavar="DIR", help="for many_videos.json and .md (default: benchmarks/results)")
    args = parser.parse_args()
    load = keep_to(args.threads, parser)
    try:
        with tempfile.TemporaryDirectory(prefix="masklet-many-") as folder:
            content = run(args, Path(folder), lambda line: print(line, flush=True))
    except KeyboardInterrupt:
        print("\nstopped; nothing was written", file=sys.stderr)
        return 130
    content |= facts(load, args.threads)
    name = "many_videos" if args.precision == "fp32" else f"many_videos_{args.precision}"
    save(args.out, name, content, many_videos_tables(content))
    return 0


if __name__ == "__main__":
    sys.exit(main())

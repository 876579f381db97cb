"""PyTorch on a GPU: how many frames per second do so many videos get through the server, beside PyTorch itself on that GPU in the same precision?

The serving environment needs torch (build/gpu.md), and so does this one: the same CUDA build. Whether masks are
those of the CPU, and what crosses between host and GPU, `python -m pytest -m gpu` tells.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

import torch

from benchmarks import RESULTS
from benchmarks.baseline.plain import Plain
from benchmarks.crowd import Crowd
from benchmarks.engines import Say, random_checkpoint_file
from benchmarks.many_videos import SIDE, full, torch_block
from benchmarks.report import facts, save, spread, table, with_quartiles
from benchmarks.steady import Setting
from masklet.families import NANO, Variant
from masklet_build import nano
from masklet_build.export.precision.choice import PRECISIONS, Choice
from masklet_build.export.programs import export_programs
from masklet_build.models import variants
from masklet_build.repository.assemble import assemble
from masklet_build.serve import Server

FRAMES = 48  # of a block, of all videos together, and 12 of each at least


def server_fps(server: Server, videos: int, rounds: int) -> list[float]:
    """Frames per second of so many videos of one object, of each round. A first block, in which graphs are recorded, does not count."""
    frames = max(12, FRAMES // videos)
    with Crowd(server.grpc_url, videos, Setting(1, SIDE, SIDE)) as crowd:
        return [videos * frames / crowd.track(frames) for _ in range(rounds + 1)][1:]


def measured(variant: Variant, precision: str, args: argparse.Namespace, folder: Path, say: Say) -> list[list[object]]:
    """The rows of one variant and precision: way, and frames per second for each number of videos."""
    checkpoint = nano.CHECKPOINT if variant is NANO else random_checkpoint_file(folder, variant, say)
    say(f"{variant.name}, {precision}: exporting programs")
    export_programs(variant, checkpoint, folder / "programs", choice=Choice.of(variant, precision, purpose="torch"))
    settings = {"memory_bank.idle_seconds": "3600"}
    repository = assemble(variant.name, folder / "programs", folder / "repository", runtime="torch", device=args.device, settings=settings)
    with Server(repository, python=args.python, grpc_port=0, http_port=0, metrics_port=0) as server:
        fps = {"server": {videos: server_fps(server, videos, args.rounds) for videos in args.videos}}
    if precision in ("fp32", "bf16"):
        video = full(Plain(variant, checkpoint, precision, args.device), Setting(1, SIDE, SIDE))
        for videos in args.videos:
            for way, twins in video.late(videos).items():
                block = torch_block(twins)
                fps.setdefault(way, {})[videos] = [block() for _ in range(args.rounds + 1)][1:]
    return [[variant.name, precision, way, *(with_quartiles(spread(rounds), 1) for rounds in found.values())] for way, found in fps.items()]


def main() -> int:
    """Runs the benchmark. Returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--variants", nargs="+", default=["nano", "efficienttam_ti_512"], metavar="NAME", help="(default: %(default)s)")
    parser.add_argument("--precision", nargs="+", choices=PRECISIONS, default=list(PRECISIONS), help="of all ways (default: all)")
    parser.add_argument("--videos", nargs="+", type=int, default=[1, 8, 32], metavar="N", help="at a time (default: 1 8 32)")
    parser.add_argument("--rounds", type=int, default=5, metavar="N", help="(default: %(default)s)")
    parser.add_argument("--device", default="cuda", help="cpu: to try this script where there is no GPU (default: %(default)s)")
    parser.add_argument("--python", metavar="FILE", help="interpreter of the serving environment, with torch")
    parser.add_argument("--out", type=Path, default=RESULTS, metavar="DIR", help="for gpu.json and gpu.md (default: benchmarks/results)")
    args = parser.parse_args()
    if args.device != "cpu" and not torch.cuda.is_available():
        parser.error(f"torch {torch.__version__} sees no GPU. Install a CUDA build in this environment and in the serving one: pip install torch")
    load = os.getloadavg()[0]
    rows: list[list[object]] = []
    with tempfile.TemporaryDirectory(prefix="masklet-gpu-") as folder:
        for name in args.variants:
            for precision in args.precision:
                (made := Path(folder) / name / precision).mkdir(parents=True)
                rows += measured(variants.variant(name), precision, args, made, partial(print, flush=True))
    gpu = torch.cuda.get_device_name() if args.device != "cpu" else "no GPU, on the CPU"
    content: dict[str, Any] = {"gpu": gpu, "rows": rows, **facts(load, torch.get_num_threads())}
    lines = ["# PyTorch on a GPU", "", f"{gpu}. Frames per second of all videos together, {SIDE}x{SIDE} as JPEG, one object each.", ""]
    save(args.out, "gpu", content, lines + table(["variant", "precision", "way", *(f"{videos} video(s)" for videos in args.videos)], rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())

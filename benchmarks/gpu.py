"""PyTorch on a GPU: are its masks those of fp32 on the CPU, how many frames per second does it answer, and what crosses between host and GPU?

It writes results/gpu.json and results/gpu.md. The serving environment needs torch (docker/tensorrt.md, "GPU without a container"), and so does this
one: the same CUDA build.
"""

from __future__ import annotations

import argparse
import itertools
import os
import re
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch

from crowd import Crowd
from eager import Eager
from eager_videos import checked_eager, clicked_eager
from engines import Say, random_checkpoint_file
from masklet import TrackedFrame
from masklet.families import Variant
from masklet.tracker import Tracker
from masklet_build import nano
from masklet_build.assemble import assemble
from masklet_build.clips import inner_point, make_clip
from masklet_build.compare import iou
from masklet_build.models import variants
from masklet_build.programs import export_programs
from masklet_build.serve import Server
from masklet_build.typed.choice import PRECISIONS, Choice
from report import facts, save
from steady import STEADY, Setting

RESULTS = Path(__file__).parent / "results"
VARIANTS = ("nano", "efficienttam_ti_512")
SIDE = 256  # pixels of the frames, each way; they travel as JPEG
FRAMES = 48  # of a block, of all videos together, and 12 of each at least
LENGTHS = (3, 8, 20, 40)  # frames after the click at which is told what crosses


def served(folder: Path, variant: Variant, programs: Path, device: str, python: str | None) -> Server:
    """A server on programs, not started yet."""
    repository = assemble(variant.name, programs, folder, runtime="torch", device=device, force=True, settings={"memory_bank.idle_seconds": "3600"})
    return Server(repository, python=python, grpc_port=0, http_port=0, metrics_port=0)


def answers(server: Server) -> list[TrackedFrame]:
    """What a server makes of a drawn clip of three objects."""
    clip = make_clip("test", 1, frames=30, height=SIDE, width=SIDE, objects=3)
    with Tracker(server.grpc_url, timeout_s=120) as tracker, tracker.open() as video:
        for object_id, mask in enumerate(clip.masks[0], 1):
            video.prompt(object_id, points=[inner_point(mask)])
        return [video.track(frame, logits=True) for frame in clip.frames]


def parity(got: Sequence[TrackedFrame], wanted: Sequence[TrackedFrame]) -> dict[str, float]:
    """How far answers are from those of fp32 on the CPU."""
    ious = [iou(mask, other) for one, two in zip(got, wanted, strict=True) for mask, other in zip(one.masks, two.masks, strict=True)]
    off = [np.abs(one.logits - two.logits) for one, two in zip(got, wanted, strict=True)]
    signs = [(one.scores > 0) == (two.scores > 0) for one, two in zip(got, wanted, strict=True)]
    return {
        "mean_iou": float(np.mean(ious)),
        "least_iou": float(np.min(ious)),
        "median_logit": float(max(np.median(frame) for frame in off)),
        "largest_logit": float(max(frame.max() for frame in off)),
        "same_presence": float(np.mean(signs)),
    }


def crossed(server: Server) -> dict[int, dict[str, float]]:
    """Bytes between host and device for one frame of one object, after so many tracked frames: frame -> direction -> bytes."""
    first, later = (setting := Setting(1, SIDE, SIDE)).files()
    found = {}
    with Tracker(server.grpc_url, timeout_s=120) as tracker, tracker.open() as video:
        video.prompt(1, points=[setting.clicks[0]])
        video.track(first)
        for number, frame in enumerate(itertools.islice(later, max(LENGTHS)), 1):
            before = _copied(server)
            video.track(frame)
            after = _copied(server)
            if number in LENGTHS:
                found[number] = {direction: after[direction] - before[direction] for direction in after}
    return found


def _copied(server: Server) -> dict[str, float]:
    time.sleep(0.1)  # numbers are sent after the answer
    with urllib.request.urlopen(server.metrics_url, timeout=5) as answer:
        text = answer.read().decode()
    return {name: float(n) for name, n in re.findall(r'^masklet_bank_copied_bytes_total\{direction="(\w+)"\} (\S+)$', text, re.MULTILINE)}


def server_fps(server: Server, videos: int, rounds: int) -> list[float]:
    """Frames per second of so many videos of one object, of each round. A first block, in which graphs are recorded, does not count."""
    frames = max(12, FRAMES // videos)
    with Crowd(server.grpc_url, videos, Setting(1, SIDE, SIDE)) as crowd:
        return [videos * frames / crowd.track(frames) for _ in range(rounds + 1)][1:]


def eager_fps(model: Eager, videos: int, rounds: int, *, autocast: bool) -> list[float]:
    """The same of eager PyTorch, which goes from video to video; autocast: in bfloat16 as the official examples run it."""
    with torch.autocast(model.device.type, torch.bfloat16) if autocast else nullcontext():
        first, pixels = clicked_eager(model, Setting(1, SIDE, SIDE))
        frames = itertools.cycle(pixels)
        for frame in itertools.islice(frames, STEADY):
            first.track(frame)
        crowd = [first.copy(1) for _ in range(videos)]
        return [_passes(lambda frame: [video.track(frame).cpu() for video in crowd], frames, videos) for _ in range(rounds + 1)][1:]


def _passes(track: Callable[[Any], object], frames: Iterator[Any], videos: int) -> float:
    passes = max(2, FRAMES // videos)
    begin = time.perf_counter()
    for frame in itertools.islice(frames, passes):
        track(frame)
    return passes * videos / (time.perf_counter() - begin)


def measured(variant: Variant, args: argparse.Namespace, folder: Path, say: Say) -> dict[str, Any]:
    """All figures of one variant."""
    checkpoint = nano.CHECKPOINT if variant.name == "nano" else random_checkpoint_file(folder, variant, say)
    programs = {precision: folder / f"programs-{precision}" for precision in dict.fromkeys(("fp32", *args.precision))}
    for precision, out in programs.items():
        say(f"{variant.name}: exporting programs in {precision}")
        export_programs(variant, checkpoint, out, choice=Choice.of(variant, precision, purpose="torch"))
    say(f"{variant.name}: a clip in fp32 on the CPU")
    with served(folder / "reference", variant, programs["fp32"], "cpu", args.python) as server:
        wanted = answers(server)
    found: dict[str, Any] = {"fps": {}, "parity": {}, "crossed": {}}
    for precision in args.precision:
        say(f"{variant.name}, {precision}: on {args.device}")
        with served(folder / precision, variant, programs[precision], args.device, args.python) as server:
            found["parity"][precision] = parity(answers(server), wanted)
            found["crossed"][precision] = crossed(server)
            found["fps"][f"server, {precision}"] = {videos: server_fps(server, videos, args.rounds) for videos in args.videos}
    model = checked_eager(checkpoint, variant, torch.get_num_threads(), say, args.device)
    for way, autocast in (("eager PyTorch, fp32", False), ("eager PyTorch, autocast to bf16", True)):
        say(f"{variant.name}: {way}")
        found["fps"][way] = {videos: eager_fps(model, videos, args.rounds, autocast=autocast) for videos in args.videos}
    return found


def markdown(content: Mapping[str, Any]) -> str:
    """The report."""
    lines = ["# PyTorch on a GPU", "", f"{content['gpu']}, torch {torch.__version__}. Frames of {SIDE}x{SIDE} as JPEG, one object each.", ""]
    for name, found in content["variants"].items():
        videos = list(next(iter(found["fps"].values())))
        lines += [f"## {name}", "", "Frames per second of all videos together, medians of rounds:", ""]
        fps = ([way, *(f"{np.median(rounds):.1f}" for rounds in by_videos.values())] for way, by_videos in found["fps"].items())
        lines += _table(["", *(f"{count} video(s)" for count in videos)], fps)
        lines += ["Masks beside those of fp32 on the CPU (a clip of 30 frames, three objects):", ""]
        heads = ["mean_iou", "least_iou", "median_logit", "largest_logit", "same_presence"]
        lines += _table(["", *heads], ([precision, *(f"{values[head]:.4g}" for head in heads)] for precision, values in found["parity"].items()))
        lines += ["Bytes between host and GPU for a frame of one object, in memory_bank, by frames tracked before:", ""]
        crossed = [(name, by_frame, direction) for name, by_frame in found["crossed"].items() for direction in ("to_device", "to_host")]
        lines += _table(["", "", *map(str, LENGTHS)], ([name, to, *(f"{at[to]:.0f}" for at in by_frame.values())] for name, by_frame, to in crossed))
    return "\n".join(lines)


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    return [f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *rows)] + [""]


def main() -> int:
    """Runs the benchmark. Returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--variants", nargs="+", default=list(VARIANTS), metavar="NAME", help=f"(default: {' '.join(VARIANTS)})")
    parser.add_argument("--precision", nargs="+", choices=PRECISIONS, default=list(PRECISIONS), help="of the server (default: all)")
    parser.add_argument("--videos", nargs="+", type=int, default=[1, 8, 32], metavar="N", help="at a time (default: 1 8 32)")
    parser.add_argument("--rounds", type=int, default=5, metavar="N", help="(default: %(default)s)")
    parser.add_argument("--device", default="cuda", help="cpu: to try this script where there is no GPU (default: %(default)s)")
    parser.add_argument("--python", metavar="FILE", help="interpreter of the serving environment, with torch")
    parser.add_argument("--out", type=Path, default=RESULTS, metavar="DIR", help="for gpu.json and gpu.md (default: benchmarks/results)")
    args = parser.parse_args()
    if args.device != "cpu" and not torch.cuda.is_available():
        parser.error(f"torch {torch.__version__} sees no GPU. Install a CUDA build in this environment and in the serving one: pip install torch")
    load, content = os.getloadavg()[0], {}
    with tempfile.TemporaryDirectory(prefix="masklet-gpu-") as folder:
        for name in args.variants:
            (made := Path(folder) / name).mkdir()
            content[name] = measured(variants.variant(name), args, made, lambda line: print(line, flush=True))
    gpu = torch.cuda.get_device_name() if args.device != "cpu" else "no GPU, on the CPU"
    found = {"gpu": gpu, "variants": content} | facts(torch.get_num_threads(), load)
    save(args.out, "gpu", found, markdown(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""How fast is one video through the server, beside the fastest ways that PyTorch has in the same precision, and beside the bare engines?

All take turns in short blocks on the same CPUs, so that whatever slows the machine slows all of them: read the ratios, not the milliseconds. Before
anything is timed in fp32, server and PyTorch must give the same masks.
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
from typing import Any

import numpy as np
import torch
from tritonclient.grpc import InferenceServerClient

from benchmarks import RESULTS, baseline
from benchmarks.comparisons import Result, speed_tables
from benchmarks.engines import Say, prepared
from benchmarks.floor import ENGINES, BareEngines, frame_gflop, peaks, steady_inputs
from benchmarks.report import facts, median, save
from benchmarks.steady import STEADY, Setting, begin, keep_to, take_turns
from benchmarks.triton_times import between, read
from masklet.families import NANO
from masklet.tracker import Tracker
from masklet.video import Video
from masklet_build.models import variants
from masklet_build.quality.measures import region_similarity
from masklet_build.repository.assemble import PRECISIONS, assemble
from masklet_build.serve import Server

BLOCK_S, LEAST, MOST = 0.5, 3, 16  # so long, or so many frames, is a block; the first fills caches and wakes threads, and is not counted
SAME, IOU = 3, 0.99  # frames whose masks are compared in fp32, and what the worst must reach
_WORK = ("preprocess", "postprocess", *ENGINES[1:])  # decoding, resizing, masks and their coding; the engines that memory_bank clocks


class Served:
    """The server's video, past its first frame."""

    def __init__(self, video: Video, client: InferenceServerClient, setting: Setting, *, jpeg: bool) -> None:
        self._video, self._client, self._frames = video, client, begin(video, setting, jpeg=jpeg)

    def track(self) -> np.ndarray:
        """Masks of its next frame."""
        return self._video.track(next(self._frames)).masks

    def block(self, count: int, result: Result) -> None:
        """Times a block; and what a frame takes besides engines, decoding, resizing, masks and their coding."""
        before, times, timing = read(self._client), [], []
        for frame in itertools.islice(self._frames, count):
            start = time.perf_counter()
            answer = self._video.track(frame)
            times.append(1000 * (time.perf_counter() - start))
            timing.append(dict(answer.timing))
        encoder = between(before, read(self._client))["image_encoder"].per_request()["compute_infer"]
        result.ways["server"].append(times[1:])
        result.timing += timing[1:]
        work = [sum(one[name] for name in _WORK) + encoder for one in timing]
        result.hops.append(float(np.mean(times) - np.mean(work)))


def torch_block(video: baseline.Video, count: int, rounds: list[list[float]]) -> None:
    """Times a block of a way that PyTorch has."""
    times = []
    with video.block():
        for _ in range(count):
            start = time.perf_counter()
            video.track()
            times.append(1000 * (time.perf_counter() - start))
    rounds.append(times[1:])


def same_masks(served: Served, video: baseline.Video) -> float:
    """The smallest IoU of the masks of the next frames. Raises SystemExit where it is too small, or where no frame has a mask."""
    with video.block():
        pairs = [pair for _ in range(SAME) for pair in zip(served.track(), video.track(), strict=True)]
    least = min(float(region_similarity(a, b)) for a, b in pairs)
    if least < IOU or not any(a.any() for a, _ in pairs):
        raise SystemExit(f"server and PyTorch have masks of IoU {least:.4f} (or none at all), so comparing their speed means nothing.")
    return least


def measured(
    served: Served, model: baseline.Baseline, bare: Callable[[], dict[str, float]], result: Result, setting: Setting, rounds: int, say: Say
) -> None:
    """One precision and number of objects."""
    what = f"{result.precision}, {result.objects} object(s)"
    video = model.begin(setting)
    if result.precision == "fp32":
        say(f"{what}: masks of IoU {same_masks(served, video):.4f} and more")
    say(f"{what}: tracking until every memory is in place, and compiling")
    start = time.perf_counter()
    for _ in range(STEADY):
        served.track()
    count = int(np.clip(BLOCK_S * STEADY / (time.perf_counter() - start), LEAST, MOST))
    with video.block():
        for _ in range(STEADY):
            video.track()
    late = {name: videos[0] for name, videos in video.late().items()}
    for name, other in late.items():
        result.ways[name] = []
        torch_block(other, 2, [])  # compiles
    before = {name: other.kept_bytes() for name, other in late.items()}

    def ended(number: int) -> None:
        say(f"  round {number}: " + ", ".join(f"{name} {median(times[-1]):.0f} ms" for name, times in result.ways.items()))

    blocks: dict[str, Callable[[], None]] = {"server": partial(served.block, count, result)}
    blocks |= {name: partial(torch_block, other, count, result.ways[name]) for name, other in late.items()}
    blocks["bare"] = lambda: result.bare.append([bare() for _ in range(count)][1:])
    take_turns(blocks, rounds, ended)
    result.kept = {name: (other.kept_bytes() - before[name]) / (rounds * count) for name, other in late.items()}


def run(args: argparse.Namespace, folder: Path, say: Say) -> dict[str, Any]:
    """All precisions and numbers of objects."""
    torch.set_num_threads(args.threads)
    variant, best = variants.variant(args.variant), peaks(args.threads)
    checkpoint, engines = prepared(variant, args.checkpoint, folder, say)
    results, jpeg = [], variant is NANO
    for precision in args.precision:
        model = baseline.baseline(variant, checkpoint, precision)
        options = {"precision": precision, "threads": args.threads, "settings": {"memory_bank.idle_seconds": "3600"}, "force": True}
        bare, repository = BareEngines(engines, precision, args.threads), assemble(variant.name, engines, folder / "repository", **options)
        with (
            Server(repository, grpc_port=0, http_port=0, metrics_port=0) as server,
            InferenceServerClient(server.grpc_url) as client,
            Tracker(server.grpc_url, timeout_s=300) as tracker,
        ):
            for objects in args.objects:
                setting = Setting(objects, variant.image_size, variant.image_size) if jpeg else Setting(objects)
                result, inputs = Result(precision, objects, {"server": []}), steady_inputs(variant, objects)
                with tracker.open() as video:
                    measured(Served(video, client, setting, jpeg=jpeg), model, partial(bare.frame_ms, inputs), result, setting, args.rounds, say)
                results.append(result.summary())
    gflop = {str(objects): frame_gflop(checkpoint, variant, objects) for objects in args.objects}
    frames = f"{setting.width}x{setting.height}" + (" as JPEG" if jpeg else "")
    return {"variant": variant.name, "frames": frames, "peaks": best, "gflop": gflop, "results": results}


def main() -> int:
    """Runs the benchmark. Returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("variant", nargs="?", default="efficienttam_ti_512", help="nano, an EfficientTAM or sam2.1_t (default: %(default)s)")
    parser.add_argument("--checkpoint", type=Path, help="official file; for sam2.1_t a folder as transformers saves it (default: random, as fast)")
    parser.add_argument("--precision", nargs="+", choices=PRECISIONS, default=list(PRECISIONS), help="of all ways (default: one after the other)")
    parser.add_argument("--objects", nargs="+", type=int, default=[1], metavar="N", help="in the video (default: 1)")
    parser.add_argument("--rounds", type=int, default=10, metavar="N", help="turns that each way gets (default: %(default)s)")
    parser.add_argument("--threads", type=int, default=2, metavar="N", help="and the CPUs that all processes are kept on (default: %(default)s)")
    parser.add_argument("--out", type=Path, default=RESULTS, metavar="DIR", help="for speed_VARIANT.json and .md (default: benchmarks/results)")
    args = parser.parse_args()
    load = keep_to(args.threads, parser)
    try:
        with tempfile.TemporaryDirectory(prefix="masklet-speed-") as folder:
            content = run(args, Path(folder), partial(print, flush=True)) | facts(load, args.threads)
    except KeyboardInterrupt:
        print("\nstopped; nothing was written", file=sys.stderr)
        return 130
    save(args.out, f"speed_{args.variant}", content, speed_tables(content))
    return 0


if __name__ == "__main__":
    sys.exit(main())

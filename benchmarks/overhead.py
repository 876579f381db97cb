"""What does the server add to its engines? A frame's time taken apart, by Triton's own statistics and beside models that compute nothing.

The real server, the same one with every engine as a model of its own, the empty one, the engines alone and single hops take turns in short blocks.
"""

from __future__ import annotations

import argparse
import itertools
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
from tritonclient.grpc import InferenceServerClient, InferInput

from bare import BareEngines, steady_inputs
from engines import Say, ready_engines
from masklet import rle
from masklet.families import NANO, Variant
from masklet.inputs import Frame
from masklet.tracker import Tracker, Video
from masklet_build import nano
from masklet_build.assemble import PRECISIONS, assemble
from masklet_build.models import variants
from masklet_build.serve import Server
from null_repository import null_repository
from overhead_report import HOPS, Case, Passed, markdown
from report import facts, save
from steady import STEADY, Setting, keep_to, take_turns
from triton_times import between, read

RESULTS = Path(__file__).parent / "results"
VARIANTS = (NANO.name, "efficienttam_ti_512")
FRAMES = 16  # of a block
CALLS = 4  # of the bare engines, in a block
REQUESTS = 40  # to each chain, in a block


def material(variant: Variant) -> tuple[Setting, Frame, Iterator[Frame], bytes, str]:
    """What is tracked: the setting, its first frame and the others, a mask as the client asks for it, and the frames in words.

    JPEG files of nano's size; for official variants raw frames, whose copies are large.
    """
    if variant is NANO:
        setting = Setting(1, variant.image_size, variant.image_size)
        return setting, *setting.files(), json.dumps(rle.encode(_disc(setting))).encode(), f"{setting.width}x{setting.height} JPEG"
    setting = Setting(1)
    return setting, setting.frames[0], setting.later_frames(), np.packbits(_disc(setting)).tobytes(), f"{setting.width}x{setting.height} raw"


def _disc(setting: Setting) -> np.ndarray:
    """A mask of some size, bool."""
    rows, columns = np.mgrid[: setting.height, : setting.width]
    return np.asarray(np.hypot(rows - setting.height / 2, columns - setting.width / 2) < setting.height / 4)


def begin(video: Video, setting: Setting, first: Frame, later: Iterator[Frame]) -> None:
    """Tracks until the memory is full."""
    video.prompt(1, points=[setting.clicks[0]])
    video.track(first)
    for frame in itertools.islice(later, STEADY):
        video.track(frame)


def passed(client: InferenceServerClient, video: Video, frames: Iterator[Frame]) -> Passed:
    """Tracks a block of frames."""
    before, times, timing, decoding = read(client), [], [], []
    for frame in itertools.islice(frames, FRAMES):
        start = time.perf_counter()
        answer = video.track(frame)
        times.append(1000 * (time.perf_counter() - start))
        timing.append(answer.timing)
        decoding.append(decoding_ms(answer.masks[0], raw=isinstance(frame, np.ndarray)))
    models = {name: counts.per_request() for name, counts in between(before, read(client)).items()}
    mean = {name: float(np.mean([one[name] for one in timing])) for name in timing[0]}
    return Passed(float(np.mean(times)), float(np.mean(decoding)), mean, models)


def decoding_ms(mask: np.ndarray, *, raw: bool) -> float:
    """Milliseconds of decoding a mask as the client did: a bitmap where it sent a raw frame, else run lengths."""
    sent = np.packbits(mask) if raw else json.dumps(rle.encode(mask))
    start = time.perf_counter()
    if isinstance(sent, str):
        rle.decode(json.loads(sent), mask.shape)
    else:
        np.unpackbits(sent, count=mask.size).reshape(mask.shape).view(np.bool_)
    return 1000 * (time.perf_counter() - start)


def chain_block(client: InferenceServerClient, case: Case) -> Callable[[], None]:
    """Asks every model of HOPS: one unary request after the other."""
    names = sorted({name for longer, shorter, _ in HOPS.values() for name in (longer, shorter) if name})
    number = InferInput("IN", [1, 1], "FP32")
    number.set_data_from_numpy(np.zeros((1, 1), np.float32))
    client.infer("stateful", [number], sequence_id=1, sequence_start=True)

    def run() -> None:
        for name in names:
            times = []
            for _ in range(REQUESTS):
                start = time.perf_counter()
                client.infer(name, [number], sequence_id=1 if name == "stateful" else 0)
                times.append(1000 * (time.perf_counter() - start))
            case.chains.setdefault(name, []).append(float(np.median(times)))

    return run


def measured(variant: Variant, engines: Path, precision: str, folder: Path, args: argparse.Namespace, say: Say) -> Case:
    """One variant and precision."""
    setting, first, later, mask, words = material(variant)
    case = Case(variant.name, precision, words)
    settings = {"memory_bank.idle_seconds": "3600"}  # others have their turn meanwhile
    options = {"precision": precision, "threads": args.threads, "settings": settings, "force": True}
    made = {target: assemble(variant.name, engines, folder / target, target=target, **options) for target in ("embedded", "separate")}
    null = folder / f"null_{variant.name}"
    if not null.exists():
        null_repository(variant, engines, null, mask)
    bare, inputs = BareEngines(engines, precision, args.threads), steady_inputs(variant, 1)
    with (
        Server(made["embedded"], grpc_port=0, http_port=0, metrics_port=0) as server,
        Server(made["separate"], grpc_port=0, http_port=0, metrics_port=0) as separate,
        Server(null, grpc_port=0, http_port=0, metrics_port=0) as floor,
        InferenceServerClient(server.grpc_url) as client,
        InferenceServerClient(separate.grpc_url) as separate_client,
        InferenceServerClient(floor.grpc_url) as floor_client,
        Tracker(server.grpc_url, timeout_s=120) as tracker,
        Tracker(separate.grpc_url, timeout_s=120) as separate_tracker,
        Tracker(floor.grpc_url, timeout_s=120) as floor_tracker,
        tracker.open() as video,
        separate_tracker.open() as separate_video,
        floor_tracker.open() as floor_video,
    ):
        for one in (video, separate_video, floor_video):
            begin(one, setting, first, later)
        bare.frame_ms(inputs)
        blocks: dict[str, Callable[[], None]] = {
            "real": lambda: case.real.append(passed(client, video, later)),
            "separate": lambda: case.separate.append(passed(separate_client, separate_video, later).frame),
            "null": lambda: case.null.append(passed(floor_client, floor_video, later)),
            "bare": lambda: case.bare.append(float(np.median([sum(bare.frame_ms(inputs).values()) for _ in range(CALLS)]))),
            "chains": chain_block(floor_client, case),
        }
        take_turns(blocks, args.rounds, partial(_say_round, say, case))
    return case


def _say_round(say: Say, case: Case, number: int) -> None:
    say(f"  {case.variant}, {case.precision}, round {number}: frame {case.real[-1].frame:.1f} ms, of null models {case.null[-1].frame:.2f} ms")


def main() -> int:
    """Runs the benchmark. Returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    said = f"default: {' '.join(VARIANTS)}; the weights of all but nano are random"
    parser.add_argument("--variant", nargs="+", default=list(VARIANTS), metavar="NAME", help=said)
    parser.add_argument("--precision", nargs="+", choices=PRECISIONS, default=list(PRECISIONS), help="of the server and the bare engines")
    parser.add_argument("--rounds", type=int, default=10, metavar="N", help="turns that each gets (default: %(default)s)")
    parser.add_argument("--threads", type=int, default=2, metavar="N", help="and the CPUs that all processes are kept on (default: %(default)s)")
    parser.add_argument("--out", type=Path, default=RESULTS, metavar="DIR", help="for overhead.json and overhead.md (default: benchmarks/results)")
    args = parser.parse_args()
    load = keep_to(args.threads, parser)
    say: Say = partial(print, flush=True)
    try:
        with tempfile.TemporaryDirectory(prefix="masklet-overhead-") as scratch:
            cases = []
            for variant in map(variants.variant, args.variant):
                folder = Path(scratch) / variant.name
                engines = nano.ENGINES if variant is NANO else ready_engines(folder, variant, None, say)
                cases += [measured(variant, engines, precision, folder, args, say) for precision in args.precision]
    except KeyboardInterrupt:
        print("\nstopped; nothing was written", file=sys.stderr)
        return 130
    content = {**facts(args.threads, load), "cases": [case.summary() for case in cases]}
    save(args.out, "overhead", content, markdown(content))
    return 0


if __name__ == "__main__":
    sys.exit(main())

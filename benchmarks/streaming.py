"""Frames per second of SAM 2.1 through the server, beside the streaming session of Hugging Face transformers with the same weights.

`Sam2VideoModel` with a `Sam2VideoInferenceSession` is what `pip install transformers` offers for live video. The two take turns in short blocks, both
in the same precision: read the ratios, not the milliseconds. Before anything is timed, both must give the same masks.
"""

from __future__ import annotations

import argparse
import itertools
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import torch
import transformers

from benchmarks import RESULTS
from benchmarks.engines import Say
from benchmarks.report import facts, median, origin, save, spread, with_quartiles
from benchmarks.session import Session
from benchmarks.steady import STEADY, Setting, keep_to, take_turns
from masklet import families
from masklet.tracker import Tracker, Video
from masklet_build.export.onnx_export import export
from masklet_build.models.samples import Sizes
from masklet_build.repository.assemble import PRECISIONS, assemble
from masklet_build.serve import Server

VARIANT = families.variant("sam2.1_t")
FRAMES = 2  # of a block
SAME = 3  # frames whose masks are compared, the clicked one and some with memory
IOU = 0.99  # that they must reach
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}


def weights(folder: Path, checkpoint: str | None) -> Path:
    """The checkpoint as transformers saves it: the one that was given, or random weights with an object in every frame."""
    if checkpoint:
        return Path(checkpoint)
    torch.manual_seed(0)
    model = transformers.Sam2VideoModel(transformers.Sam2VideoConfig()).requires_grad_(False)  # the default is SAM 2.1 tiny
    for tensor in model.parameters():
        tensor += 0.02 * torch.randn(tensor.shape)
    model.prompt_encoder.shared_embedding.positional_embedding.copy_(model.shared_image_embedding.positional_embedding)  # one in every checkpoint
    model.mask_decoder.pred_obj_score_head.proj_out.bias += 5
    model.save_pretrained(folder / "checkpoint")
    return folder / "checkpoint"


def same_masks(video: Video, session: Session, setting: Setting) -> float:
    """The smallest IoU of the masks of the first frames. Both have tracked these frames afterwards."""
    click(video, setting)
    found = []
    for index, frame in enumerate(itertools.islice(itertools.chain(setting.frames[:1], setting.later_frames()), SAME)):
        ours, theirs = video.track(frame).masks, session.track(session.pixels(frame), setting.clicks if index == 0 else ())
        found += [float((a & b).sum() / max((a | b).sum(), 1)) for a, b in zip(ours, theirs, strict=True)]
    return min(found)


def click(video: Video, setting: Setting) -> None:
    """A click on each object, with the next frame."""
    for object_id, point in enumerate(setting.clicks, 1):
        video.prompt(object_id, points=[point])


def timed(track: Callable[[Any], object], frames: Iterator[Any], times: list[float]) -> None:
    """One block: milliseconds of each frame."""
    for frame in itertools.islice(frames, FRAMES):
        begin = time.perf_counter()
        track(frame)
        times.append(1000 * (time.perf_counter() - begin))


def measured(tracker: Tracker, model: Any, precision: str, objects: int, rounds: int, say: Say) -> dict[str, Any]:
    """One precision and number of objects."""
    setting = Setting(objects)
    session = Session(model, setting.height, setting.width)
    with tracker.open() as video:
        if precision == "fp32":  # random networks make chaos of bfloat16's roundings
            iou = same_masks(video, session, setting)
            say(f"masks of the first {SAME} frames: IoU at least {iou:.4f}")
            if iou < IOU:
                raise SystemExit(f"IoU {iou:.3f}: the two do not compute the same, so their speed cannot be compared.")
        else:
            click(video, setting)
            video.track(setting.frames[0])
            session.track(session.pixels(setting.frames[0]), setting.clicks)
        say(f"{precision}, {objects} object(s): tracking until every memory is in place")
        frames = setting.later_frames()
        pixels = itertools.cycle([session.pixels(frame) for frame in setting.frames])
        for frame in itertools.islice(frames, STEADY):
            video.track(frame)
            session.track(next(pixels))
        times: dict[str, list[float]] = {"server": [], "session": []}
        ratios: list[float] = []
        kept = session.kept_bytes()

        def ended(number: int) -> None:
            server, other = (median(times[name][-FRAMES:]) for name in ("server", "session"))
            ratios.append(other / server)
            say(f"  round {number}: server {server:.0f} ms, session {other:.0f} ms")

        blocks = {
            "server": partial(timed, video.track, frames, times["server"]),
            "session": partial(timed, session.track, pixels, times["session"]),
        }
        take_turns(blocks, rounds, ended)
        return {
            "precision": precision,
            "objects": objects,
            "server_ms": spread(times["server"]),
            "session_ms": spread(times["session"]),
            "times_faster": spread(ratios),
            "session_keeps_bytes_per_frame": (session.kept_bytes() - kept) / (rounds * FRAMES),
        }


def run(args: argparse.Namespace, folder: Path, say: Say) -> dict[str, Any]:
    """All precisions and numbers of objects."""
    torch.set_num_threads(args.threads)
    checkpoint = weights(folder, args.checkpoint)
    say(f"exporting {VARIANT.name}")
    export(VARIANT, checkpoint, folder / "engines", sizes=(Sizes(),), progress=say)
    results = []
    for precision in args.precision:
        model = transformers.Sam2VideoModel.from_pretrained(checkpoint, dtype=DTYPES[precision]).eval()
        repository = assemble(VARIANT.name, folder / "engines", folder / "repository", precision=precision, threads=args.threads, force=True)
        with Server(repository, grpc_port=0, http_port=0, metrics_port=0) as server, Tracker(server.grpc_url, timeout_s=300) as tracker:
            results += [measured(tracker, model, precision, objects, args.rounds, say) for objects in args.objects]
    return {"variant": VARIANT.name, "transformers": transformers.__version__, "results": results}


def markdown(content: dict[str, Any]) -> str:
    """The table of a run, and where it comes from."""
    lines = [
        f"# {content['variant']} beside the streaming session of transformers {content['transformers']}, on a CPU",
        "",
        "Milliseconds per frame of 640x360 late in a video (7 memories and 16 pointers per object), until its masks are there at that size:",
        "median and quartiles. Ratios are those of each round. Both have the same weights, and the same precision.",
        "",
        "| precision | objects | server | session | server faster | the session keeps, MB per frame |",
        "|---|---|---|---|---|---|",
        *(_row(result) for result in content["results"]),
        "",
        "The server keeps nothing more of a frame than of the one before (`memory.md`).",
        "",
        *origin(content),
    ]
    return "\n".join(lines) + "\n"


def _row(result: dict[str, Any]) -> str:
    times = " | ".join(with_quartiles(result[name]) for name in ("server_ms", "session_ms"))
    kept = result["session_keeps_bytes_per_frame"] / 1e6
    return f"| {result['precision']} | {result['objects']} | {times} | {with_quartiles(result['times_faster'], 2)} | {kept:.1f} |"


def main() -> int:
    """Runs the benchmark. Returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--precision", nargs="+", choices=PRECISIONS, default=list(PRECISIONS), help="of both (default: one after the other)")
    parser.add_argument("--objects", nargs="+", type=int, default=[1, 2], metavar="N", help="in the video (default: 1 2)")
    parser.add_argument("--rounds", type=int, default=6, metavar="N", help="turns that each gets (default: %(default)s)")
    parser.add_argument("--threads", type=int, default=2, metavar="N", help="and the CPUs that all processes are kept on (default: %(default)s)")
    parser.add_argument(
        "--checkpoint", metavar="FOLDER", help="of facebook/sam2.1-hiera-tiny as transformers saves it (default: random weights, as fast)"
    )
    parser.add_argument("--out", type=Path, default=RESULTS, metavar="DIR", help="for streaming.json and .md (default: benchmarks/results)")
    args = parser.parse_args()
    load = keep_to(args.threads, parser)
    try:
        with tempfile.TemporaryDirectory(prefix="masklet-streaming-") as folder:
            content = run(args, Path(folder), lambda line: print(line, flush=True))
    except KeyboardInterrupt:
        print("\nstopped; nothing was written", file=sys.stderr)
        return 130
    save(args.out, "streaming", content | facts(args.threads, load), markdown(content | facts(args.threads, load)))
    return 0


if __name__ == "__main__":
    sys.exit(main())

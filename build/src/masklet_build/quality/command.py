"""The command `masklet-build evaluate`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING

from masklet.cli.told import told
from masklet.errors import MaskletError
from masklet_build import nano
from masklet_build.common import fail, missing, say
from masklet_build.export.precision.choice import PRECISIONS as TYPES
from masklet_build.export.precision.choice import Choice
from masklet_build.models import variants
from masklet_build.repository.assemble import PRECISIONS, AssembleError
from masklet_build.serve import ServeError

if TYPE_CHECKING:  # these need Pillow, which serving and exporting do without
    from masklet_build.quality.datasets import Dataset
    from masklet_build.quality.served import Served

DESCRIPTION = """Scores tracked masks against true ones: J, F and J&F as DAVIS defines them.

A server is started (or one that runs is used), every clip is streamed to it as a live video, its objects are prompted on the first frame, and
the masks of all frames are compared with the true ones. The clips are drawn by a program, none of them was seen in training; with --davis they
are those of a folder in the format of DAVIS 2017. Beside each score stands that of the first mask, kept for all frames."""

EPILOG = """examples:
  masklet-build evaluate nano --out dist/quality
  masklet-build evaluate nano --out dist/quality --precision fp32 bf16 --controls      everything
  masklet-build evaluate nano --out dist/quality --clips 5 --prompt box                a first look
  masklet-build evaluate nano --out dist/typed --typed fp16 bf16 bf16:fp16 --clips 10  what reduced precision costs (docker/tensorrt.md)
  masklet-build evaluate efficienttam_ti --engines engines/ --davis DAVIS/ --prompt mask --out dist/davis
                              what papers report: DAVIS 2017 val, mask prompts (benchmarks/quality.md has published numbers)

writes DIR/quality.json, with every object of every clip, and DIR/quality.md. An official checkpoint needs a second or more per frame on a CPU, and
DAVIS 2017 val has 1999 frames.

exit codes: 0 done, 1 it failed and the last line says why, 2 wrong arguments, 130 stopped with Ctrl-C"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds what `run_evaluate` reads besides the variant, and the help text."""
    parser.description, parser.epilog = DESCRIPTION, EPILOG
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="for quality.json and quality.md")
    server = parser.add_argument_group("server")
    server.add_argument("--engines", type=Path, metavar="DIR", help="what `masklet-build export` wrote (default for nano: the package's own)")
    server.add_argument("--precision", nargs="+", choices=PRECISIONS, metavar="NAME", help="fp32, bf16 or both, to compare them (default: fp32)")
    server.add_argument("--url", metavar="HOST:PORT", help="gRPC port of a server that runs already, instead of starting one")
    server.add_argument(
        "--typed",
        nargs="+",
        type=_types,
        metavar="TYPE[:ATTENTION]",
        help="no server: the network in fp32 and in these types, as `export --precision TYPE --attention ATTENTION` makes it, in this process: fp16 "
        "as exported graphs in ONNX Runtime; bf16, whose products that lacks on a CPU, as the modules that graphs are traced from, in PyTorch",
    )
    server.add_argument("--checkpoint", type=Path, metavar="FILE", help="of --typed (default for nano: the package's own)")
    clips = parser.add_argument_group("clips")
    clips.add_argument("--davis", type=Path, metavar="FOLDER", help="with JPEGImages/, Annotations/ and ImageSets/2017/")
    clips.add_argument(
        "--recordings",
        type=Path,
        nargs="+",
        metavar="FOLDER",
        help="of Tracker(record=FOLDER) or `masklet track --record`: masks are compared with those that were answered then, of the objects of the "
        "first frame that has some, prompted afresh there. To compare with the same prompts: `masklet replay`",
    )
    clips.add_argument("--split", default="val", help="of --davis (default: %(default)s)")
    clips.add_argument("--resolution", default="480p", help="of --davis (default: %(default)s)")
    clips.add_argument("--clips", type=_at_least(1), metavar="N", help="the first N clips (default: 30 drawn ones; all of --davis)")
    clips.add_argument("--frames", type=_at_least(3), metavar="T", help="of each clip (default: 36 of drawn ones; all of --davis)")
    asked = parser.add_argument_group("what is asked")
    kinds = ("point", "box", "mask")
    asked.add_argument("--prompt", nargs="+", choices=kinds, default=list(kinds), metavar="KIND", help="of point, box, mask (default: all three)")
    asked.add_argument(
        "--controls",
        action="store_true",
        help='what memory is worth: "no memory" makes every frame the first of a new video with the same click or box; "prompted frame only" '
        "forgets all tracked frames before each frame. About three times the work",
    )


def run_evaluate(args: argparse.Namespace) -> int:
    """Evaluates, prints the tables and writes them. Returns the exit code."""
    if absent := missing("quality", "PIL"):
        return fail("evaluate", absent)
    from masklet_build.quality import report
    from masklet_build.quality.datasets import DatasetError
    from masklet_build.quality.run import evaluate

    servers = _servers(args)
    try:
        dataset = _dataset(args)
        evaluation = evaluate(servers, dataset, list(dict.fromkeys(args.prompt)), controls=args.controls, say=say)
        made = report.content(evaluation, dataset.description)
        report.write(args.out, made)
    except (DatasetError, MaskletError, AssembleError, ServeError, OSError) as error:
        return fail("evaluate", told(error, options=False))
    except KeyboardInterrupt:
        print("\nstopped; nothing was written", file=sys.stderr)
        return 130
    print(f"\n{report.summary(made)}\n\nwritten: {args.out / 'quality.json'}, {args.out / 'quality.md'}")
    return 0


def _servers(args: argparse.Namespace) -> list[AbstractContextManager[Served]]:
    """One per precision, none of them running yet. Exits with 2 for arguments that do not go together."""
    from masklet_build.quality.served import running, started

    if args.typed:
        return _typed_servers(args)
    if args.url:
        if args.engines or args.precision:
            args.refuse("--url: that server has its engines and its precision already. Leave out --engines and --precision.")
        return [running(args.url, args.variant)]
    if args.engines is None and variants.variant(args.variant).official:
        args.refuse(f"--engines is required for {args.variant}: make them with `masklet-build export`. Or name a running server with --url.")
    engines: Path = args.engines or nano.ENGINES
    return [started(args.variant, engines, precision) for precision in PRECISIONS if precision in (args.precision or PRECISIONS[:1])]


def _typed_servers(args: argparse.Namespace) -> list[AbstractContextManager[Served]]:
    if args.url or args.engines or args.precision:
        args.refuse("--typed makes its engines itself, in fp32 and in the types that it is given. Leave out --url, --engines and --precision.")
    checkpoint = args.checkpoint or nano.shipped(args, "--checkpoint", nano.CHECKPOINT, f"Fetch it: masklet-build download {args.variant}")
    if absent := missing("export", "torch"):
        args.refuse(f"--typed: {absent}")
    from masklet_build.quality.in_precision import typed_servers

    variant = variants.variant(args.variant)
    return typed_servers(variant, checkpoint, [Choice.of(variant, *types) for types in args.typed], say)


def _dataset(args: argparse.Namespace) -> Dataset:
    if args.davis and args.recordings:
        args.refuse("--davis and --recordings: clips are of one kind in a run. Leave one out.")
    if args.davis:
        from masklet_build.quality.davis import DavisFolder

        return DavisFolder(args.davis, args.split, args.resolution, limit=args.clips, max_frames=args.frames)
    if args.recordings:
        from masklet_build.quality.recorded import RecordedClips

        return RecordedClips(args.recordings, limit=args.clips, max_frames=args.frames)
    from masklet_build.quality.datasets import DrawnClips

    return DrawnClips(args.clips or DrawnClips.count, args.frames or DrawnClips.frames)


def _types(text: str) -> tuple[str, str | None]:
    precision, _, attention = text.partition(":")
    if precision not in TYPES or (attention or TYPES[0]) not in TYPES:
        raise argparse.ArgumentTypeError(f"{text!r}: write TYPE or TYPE:ATTENTION, each one of {', '.join(TYPES)}.")
    if precision == "fp32" and attention in ("", "fp32"):
        raise argparse.ArgumentTypeError("fp32 is what the others are compared with anyway.")
    return precision, attention or None


def _at_least(least: int) -> Callable[[str], int]:
    def number(text: str) -> int:
        value = int(text)
        if value < least:
            raise argparse.ArgumentTypeError(f"{value} is too few: at least {least}.")
        return value

    return number

"""The command `masklet-build explain`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from masklet_build.common import fail, missing

DESCRIPTION = """Why did it do that? Replays a recording (Tracker(record=FOLDER), masklet track --record) in this process up to a frame, in
PyTorch and float32, and shows how the object's mask on it came about: which remembered frames and pointers it attended to, and where in them; the
candidate masks, and why one was taken; presence, predicted IoU, area and agreement with the frame before, over time. No server, no GPU."""

EPILOG = """examples:
  masklet-build explain recording/ --object 1 --frame 120                    recorded with nano, whose weights are in the package
  masklet-build explain recording/ --object 1 --frame 120 --point 210,350    what one place of the frame attended to, not the mask
  masklet-build explain recording/ --object 1 --frame 120 --checkpoint sam2.1_hiera_tiny.pt

writes DIR/explain.html, one page that needs nothing beside it, and DIR/explain.json, the same in numbers. The network is the one that engines are
exported from; engines do not give their attention, and round in other places, so the page says how far replayed masks agree with recorded ones.
Every frame before is replayed: the time is that of so many frames in PyTorch on this machine.

exit codes: 0 done, 1 it failed and the last line says why, 2 wrong arguments"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds what `run_explain` reads, and the help text."""
    parser.description, parser.epilog = DESCRIPTION, EPILOG
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="a recording")
    parser.add_argument("--object", type=int, required=True, metavar="ID", dest="object_id", help="which object")
    parser.add_argument("--frame", type=int, required=True, metavar="N", help="on which frame, by its index")
    parser.add_argument("--out", type=Path, default=Path("explained"), metavar="DIR", help="for the page and the numbers (default: %(default)s)")
    parser.add_argument("--video", metavar="ID", help="which video of the recording (default: the last that has the object on the frame)")
    parser.add_argument("--point", type=_point, metavar="X,Y", help="whose attention, in pixels of the frame (default: of the mask that was taken)")
    parser.add_argument(
        "--checkpoint", type=Path, metavar="FILE", help="weights that the server's engines were exported from (default for nano: the package's own)"
    )
    parser.add_argument("--weights", metavar="NAME", help="which of several in the checkpoint, as for `masklet-build export`")


def run_explain(args: argparse.Namespace) -> int:
    """Explains. Returns the exit code."""
    if absent := missing("export", "torch") or missing("quality", "PIL"):
        return fail("explain", absent)
    from masklet.errors import MaskletError
    from masklet_build.checkpoints.torch_files import CheckpointError
    from masklet_build.explain.explain import Question, explain
    from masklet_build.explain.replay import ExplainError

    question = Question(args.object_id, args.frame, args.video, args.point)
    try:
        written = explain(args.folder, question, args.checkpoint, args.weights, args.out, _say)
    except (CheckpointError, ExplainError, MaskletError, OSError) as error:
        return fail("explain", error)
    print(f"written: {written}")
    return 0


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _point(text: str) -> tuple[float, float]:
    try:
        x, y = map(float, text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r}: write X,Y, as 210,350.") from None
    return x, y

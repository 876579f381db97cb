"""`masklet export`: results in the form that another tool reads."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from masklet.cli.connection import positive
from masklet.cli.told import counted
from masklet.export.formats import FORMATS

_TABLE = "".join(f"  {name:<14}{form.what}\n" for name, form in FORMATS.items())
_EPILOG = f"""\
formats:
{_TABLE}
davis and mots have one object a pixel: where objects overlap, the later one of a line of masks.jsonl wins, and what was lost is said.
--out is a folder for davis, mots and yolo, else a file. Images get the names of the folder that was tracked; a film's are 00000.jpg ..., which
  ffmpeg -i clip.mp4 -fps_mode passthrough -start_number 0 images/%05d.jpg
writes.

examples:
  masklet export bear --format coco --out bear.json --name 1=bear
  masklet export two --format davis --out davis
  masklet export bear --format webm --video bear.mp4 --object 1 --out bear.webm

exit codes: 0 done; 1 failure, nothing is written; 2 wrong usage; 130 stopped with Ctrl-C, nothing is written
"""

_INTERRUPTED = 130  # what shells give for Ctrl-C


def add_command(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds the command and its arguments."""
    parser = commands.add_parser(
        "export",
        help="write results as COCO, YouTube-VIS, DAVIS, YOLO, CVAT, Label Studio, MOTS, or a film with alpha",
        description="Writes what `masklet track` found in the form that another tool reads. Needs no server.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("results", type=Path, metavar="RESULTS", help="folder that masklet track wrote, or its masks.jsonl")
    parser.add_argument("--format", required=True, choices=FORMATS, help="see below")
    parser.add_argument("--out", required=True, type=Path, metavar="PATH", help="file or folder to make")
    parser.add_argument(
        "--name",
        action="append",
        default=[],
        type=_name,
        metavar="OBJECT=NAME",
        help="what an object is: its category, label or class (default: object), as often as needed",
    )
    parser.add_argument("--object", action="append", type=int, metavar="OBJECT", help="write this object, as often as needed (default: all)")
    parser.add_argument("--fps", type=positive(float), metavar="N", help="frames per second, instead of the times in the results")
    parser.add_argument(
        "--video",
        metavar="VIDEO",
        help="film or folder that was tracked: what webm cuts out of, what label-studio names, and the names of images for results without names",
    )


def run(arguments: argparse.Namespace) -> int:
    """Runs the command; gives its exit code. Raises ExportError, OSError."""
    from masklet.export import export  # numpy

    try:
        done = export(
            arguments.results,
            arguments.format,
            arguments.out,
            names=dict(arguments.name),
            objects=arguments.object,
            fps=arguments.fps,
            video=arguments.video,
        )
    except KeyboardInterrupt:
        print("\nstopped; nothing is written", file=sys.stderr)
        return _INTERRUPTED
    for note in done.notes:
        print(f"note: {note}", file=sys.stderr)
    print(f"{counted(done.frames, 'frame')}, {counted(done.objects, 'object')}: {arguments.out}")
    return 0


def _name(text: str) -> tuple[int, str]:
    number, separator, name = text.partition("=")
    if not separator or not number.isdecimal() or not name.strip():
        raise argparse.ArgumentTypeError(f"{text!r} is not OBJECT=NAME, such as 1=cup")
    return int(number), name.strip()

"""The command line: its words, and prompts written as text."""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from masklet.cli import drain, export, probe
from masklet.cli.connection import add_connection, positive

_EPILOG = """\
prompts, all on the first frame:
  --point 210,350               a click on the object, x,y in pixels
  --point 2:210,350             a click on object 2; objects are numbered 1 to 255, and 1 by default
  --point 2:220,300:0           a click beside object 2
  --box 2:100,50,300,400        a box around object 2: x0,y0,x1,y1
  --mask 3:dog.png              object 3 is where the image is not black

examples:
  masklet track bear.mp4 --url localhost:8001 --point 210,350 --out bear
  masklet track frames/ --url gpu-1:8001 --box 1:10,20,200,180 --point 2:400,90 --point 2:390,150:0 --out two
  masklet track 0 --url gpu-1:8001 --url gpu-2:8001 --point 210,350 --out live       a camera, and two servers: either may die

what is written to the folder --out:
  masks/00000.png ...           one indexed PNG per frame as in DAVIS: 0 is background, else the object; where objects overlap, the last wins
  masks.jsonl                   one JSON line per frame with the exact mask of every object as COCO RLE, its box and scores
  overlay.mp4                   the video with the objects drawn on it

exit codes: 0 done, or a camera stopped with Ctrl-C; 1 failure; 2 wrong usage; 130 stopped with Ctrl-C, what was written is kept
"""

_NUMBER = r"-?\d+(?:\.\d+)?"
_POINT = re.compile(rf"(?:(?P<object>\d+):)?(?P<numbers>{_NUMBER},{_NUMBER})(?::(?P<label>[01]))?")
_BOX = re.compile(rf"(?:(?P<object>\d+):)?(?P<numbers>{_NUMBER}(?:,{_NUMBER}){{3}})")
_MASK = re.compile(r"(?:(?P<object>\d+):)?(?P<file>.+)")


@dataclass
class ObjectPrompt:
    """What is said about one object."""

    points: list[list[float]] = field(default_factory=list)
    labels: list[int] = field(default_factory=list)
    box: list[float] | None = None
    mask: Path | None = None


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """The arguments of the command, whose name is `command`. Wrong usage ends the program with exit code 2.

    `prompts` of `track` maps object ids to an ObjectPrompt each.
    """
    parser = _parser()
    arguments = parser.parse_args(argv)
    if arguments.command == "track" and not arguments.prompts:
        parser.error("nothing to track: give at least one --point, --box or --mask (see masklet track --help)")
    return arguments


def _parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser("masklet", description="Track objects through videos with a masklet server, and look after the server.")
    top.add_argument("--version", action=_Version, nargs=0, help="say which version this is")
    commands = top.add_subparsers(required=True, metavar="COMMAND", dest="command")
    _add_track(commands)
    export.add_command(commands)
    probe.add_command(commands)
    drain.add_command(commands)
    return top


def _add_track(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    track = commands.add_parser(
        "track",
        help="track objects through a video, and write masks and an overlay video",
        description="Tracks objects through a video file, a folder of images (in natural order) or a camera, and writes masks and an overlay video.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    track.add_argument(
        "video", metavar="VIDEO", help="video file, folder of images, or number of a camera (0 is /dev/video0, Linux only; Ctrl-C stops)"
    )
    track.add_argument(
        "--url", required=True, action="append", metavar="HOST:PORT", help="gRPC port of the server, usually 8001; several times: see --resilient"
    )
    track.add_argument(
        "--resilient",
        action="store_true",
        help="survive the loss of the server: go on at the next --url, or at the same one (a gateway, or a server that comes back); "
        "implied by several",
    )
    track.add_argument("--out", required=True, type=Path, metavar="DIR", help="folder to write to, new or empty")
    for name, metavar, pattern in (
        ("point", "[OBJECT:]X,Y[:LABEL]", _POINT),
        ("box", "[OBJECT:]X0,Y0,X1,Y1", _BOX),
        ("mask", "[OBJECT:]FILE", _MASK),
    ):
        track.add_argument(f"--{name}", action=_AddPrompt, metavar=metavar, const=pattern, help=f"a {name} prompt, as often as needed; see below")
    track.add_argument("--fps", type=positive(float), help="frames per second of the overlay video; default: of the source, 25 for images")
    track.add_argument("--max-frames", type=positive(int), metavar="N", help="stop after N frames")
    track.add_argument("--timeout-s", type=positive(float), default=30.0, metavar="S", help="how long the server may take for a frame; default 30")
    add_connection(track)
    track.add_argument("--proxy", metavar="URL", help="http://HOST:PORT of an HTTP proxy to go through; http_proxy and its like do not count")
    track.add_argument("--header", action="append", default=[], type=_header, metavar="NAME=VALUE", help="header to send, for gateways")
    track.set_defaults(prompts={})


class _Version(argparse.Action):
    """Prints the version; what finds it is not imported before."""

    def __call__(self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, value: Any, option: str | None = None) -> None:
        from importlib.metadata import version

        print(f"masklet {version('masklet')}")
        parser.exit()


class _AddPrompt(argparse.Action):
    """Adds a prompt to `namespace.prompts`. `const` is the pattern of its text."""

    def __call__(self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, value: Any, option: str | None = None) -> None:
        match = self.const.fullmatch(value)
        if not match:
            raise argparse.ArgumentError(self, f"{value!r} is not {self.metavar}")
        object_id = int(match["object"] or 1)
        if not 1 <= object_id <= 255:
            raise argparse.ArgumentError(self, f"object {object_id} is not from 1 to 255")
        namespace.prompts[object_id] = self._added(namespace.prompts.get(object_id, ObjectPrompt()), match)

    def _added(self, prompt: ObjectPrompt, match: re.Match[str]) -> ObjectPrompt:
        said = match.groupdict()
        if "file" in said:
            made = ObjectPrompt(prompt.points, prompt.labels, prompt.box, Path(said["file"]))
        else:
            numbers = [float(number) for number in said["numbers"].split(",")]
            if len(numbers) == 4:
                made = ObjectPrompt(prompt.points, prompt.labels, numbers, prompt.mask)
            else:
                made = ObjectPrompt([*prompt.points, numbers], [*prompt.labels, int(said["label"] or 1)], prompt.box, prompt.mask)
        if made.mask and (made.points or made.box):
            raise argparse.ArgumentError(self, "an object takes a mask, or points and a box, not both")
        return made


def _header(text: str) -> tuple[str, str]:
    name, separator, value = text.partition("=")
    if not separator or not name:
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=VALUE")
    return name, value

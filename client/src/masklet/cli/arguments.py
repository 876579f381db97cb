"""The command line: its words, and prompts written as text."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from masklet.cli import drain, export, probe, replay
from masklet.cli.connection import add_connection, header, positive
from masklet.cli.prompts_text import add_prompts

_EPILOG = """\
prompts: coordinates are pixels of the video, frames are counted from 0 and are the first where none is said
  --point 210,350               a click on the object; objects are integers from 1 on, and 1 by default
  --point 2:210,350             a click on object 2
  --point 2:220,300:0           a click beside object 2
  --point 2@120:210,350         a click on object 2 in frame 120: it begins there, or is corrected from there on; earlier frames stay as they are
  --box 2:100,50,300,400        a box around object 2: x0,y0,x1,y1
  --mask 3:dog.png              object 3 is what the picture shows: white on black, a cut-out with transparency, or label 3 of a label picture
  --annotation 00000.png        every label of the picture is an object, as DAVIS and YouTube-VOS have it; --annotation 120:dog.png for frame 120
  --prompts prompts.json        [{"object": 2, "box": [100, 50, 300, 400]}, {"frame": 120, "object": 2, "points": [[210, 350]], "labels": [1]}]

examples:
  masklet track bear.mp4 --url localhost:8001 --point 210,350 --out bear
  masklet track frames/ --url gpu-1:8001 --box 1:10,20,200,180 --point 2:400,90 --point 2:390,150:0 --out two
  masklet track phone.mp4 --url gpu-1:8001 --point 1:300,200 --point 1@120:420,210 --max-side 1280 --out corrected
  masklet track DAVIS/JPEGImages/480p/bear --url gpu-1:8001 --annotation DAVIS/Annotations/480p/bear/00000.png --out bear
  masklet track long.mp4 --url gpu-1:8001 --point 210,350 --out long --resume         begins, or goes on where the same command was cut short
  masklet track 0 --url gpu-1:8001 --url gpu-2:8001 --point 210,350 --out live       a camera, and two servers: either may die

what is written to the folder --out:
  masks/00000.png ...           one indexed PNG per frame as in DAVIS, named as the frame of a folder (numbers get five digits): 0 is background, else
                                the object; where objects overlap, the last wins. Objects above 255 get free numbers: objects.json, {number: object}
  masks.jsonl                   one JSON line per frame: its index, name, time in seconds, size [height, width], and the exact mask of every object as
                                COCO RLE, its box and scores; or why the frame was skipped. Of cameras also how many frames were jumped over before
                                it, and the age of its result in seconds
  overlay.mp4                   the video with the objects drawn on it, each frame at its own time; frames of other sizes than the first scaled to it
  resume.state                  only while it is not finished: what --resume goes on from. Renewed every 10 s, or less often where that would
                                take more than a 20th of the time; an object takes 0.3 to 5.7 MiB of it, by the variant

A damaged frame is skipped and told; its index stays free.

exit codes: 0 done, or a camera stopped; 1 failure; 2 wrong usage; 130 stopped with Ctrl-C, 143 with SIGTERM, 129 as the terminal closed. After all
but 0 and 2 what was written is kept, whole, and the same command with --resume goes on: masks are those of a run that was never stopped, bit for bit
"""


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """The arguments of the command, whose name is `command`. Wrong usage ends the program with exit code 2.

    Of `track` they have what `masklet.cli.prompts_text` adds.
    """
    parser = _parser()
    arguments = parser.parse_args(argv)
    if arguments.command == "track" and not (arguments.prompts or arguments.annotations or arguments.prompt_files):
        parser.error("nothing to track: give at least one --point, --box, --mask, --annotation or --prompts (see masklet track --help)")
    return arguments


def _parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser("masklet", description="Track objects through videos with a masklet server, and look after the server.")
    top.add_argument("--version", action=_Version, nargs=0, help="say which version this is")
    commands = top.add_subparsers(required=True, metavar="COMMAND", dest="command")
    _add_track(commands)
    export.add_command(commands)
    replay.add_command(commands)
    probe.add_command(commands)
    drain.add_command(commands)
    return top


def _add_track(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    track = commands.add_parser(
        "track",
        help="track objects through a video, and write masks and an overlay video",
        description="Tracks objects through a video file, a folder of images (in natural order), a camera or a stream; writes masks and a video.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    track.add_argument(
        "video",
        metavar="VIDEO",
        help="video file, folder of images, number of a camera (0 is /dev/video0, Linux only), or rtsp://, http:// or https:// address; Ctrl-C stops",
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
    track.add_argument(
        "--resume",
        action="store_true",
        help="go on with what is in --out, where the same command was cut short, instead of refusing a folder that is not empty; prompts may be "
        "added on frames that are not done. An empty folder is begun, a finished one left as it is",
    )
    add_prompts(track)
    track.add_argument(
        "--max-side",
        type=positive(int),
        metavar="N",
        help="scale frames with a longer side down to N pixels before they are sent, as where the server takes no larger ones; prompts are given, "
        "and masks come back, in pixels of the video",
    )
    track.add_argument(
        "--overlap",
        choices=("allowed", "exclusive"),
        default="allowed",
        help="exclusive: a pixel that several objects claim is given to the one that the model is surest of, so masks/ loses nothing; by default "
        "masks may overlap, as officially",
    )
    track.add_argument("--fps", type=positive(float), help="so many frames per second instead of the times of the source (images: 25)")
    track.add_argument("--max-frames", type=positive(int), metavar="N", help="stop after N frames")
    _add_live(track)
    track.add_argument("--timeout-s", type=positive(float), default=30.0, metavar="S", help="how long the server may take for a frame; default 30")
    add_connection(track)
    track.add_argument("--proxy", metavar="URL", help="http://HOST:PORT of an HTTP proxy to go through; http_proxy and its like do not count")
    track.add_argument("--header", action="append", default=[], type=header, metavar="NAME=VALUE", help="header to send, for gateways")


def _add_live(track: argparse.ArgumentParser) -> None:
    track.add_argument(
        "--deadline-s",
        type=positive(float),
        metavar="S",
        help="of a camera or stream: send a frame only if its answer can be expected within S seconds of its arrival, and jump over the others. "
        "Without, the newest frame is sent as soon as the server gets to it; of files every frame is tracked",
    )
    track.add_argument(
        "--max-age-s", type=positive(float), metavar="S", help="call results of a camera that are older than S seconds stale; default: --deadline-s"
    )
    track.add_argument(
        "--record",
        type=Path,
        metavar="FOLDER",
        help="write down all that is sent and answered, frames as well, for `masklet replay`; pictures of whatever is filmed lie there",
    )


class _Version(argparse.Action):
    """Prints the version; what finds it is not imported before."""

    def __call__(self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, value: Any, option: str | None = None) -> None:
        from importlib.metadata import version

        print(f"masklet {version('masklet')}")
        parser.exit()

"""Prompts written on the command line."""

from __future__ import annotations

import argparse
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

_NUMBER = r"-?\d+(?:\.\d+)?"
_WHERE = r"(?:(?=[\d@])(?P<object>\d+)?(?:@(?P<frame>\d+))?:)?"  # OBJECT, @FRAME, or both, and a colon
_FORMS = {
    "point": ("[OBJECT][@FRAME]:X,Y[:LABEL]", rf"{_WHERE}(?P<numbers>{_NUMBER},{_NUMBER})(?::(?P<label>[01]))?"),
    "box": ("[OBJECT][@FRAME]:X0,Y0,X1,Y1", rf"{_WHERE}(?P<numbers>{_NUMBER}(?:,{_NUMBER}){{3}})"),
    "mask": ("[OBJECT][@FRAME]:FILE", rf"{_WHERE}(?P<file>.+)"),
}
_ANNOTATION = re.compile(r"(?:(?P<frame>\d+):)?(?P<file>.+)")
_HELP = {
    "point": "a click: x,y in pixels of the video; label 0: beside the object. As often as needed; see below",
    "box": "a box around an object. One per object and frame",
    "mask": "a picture of the object: white on black, transparent around it, or a label picture with its number. One per object and frame",
}


@dataclass
class ObjectPrompt:
    """What is said about one object on one frame."""

    points: list[list[float]] = field(default_factory=list)
    labels: list[int] = field(default_factory=list)
    box: list[float] | None = None
    mask: Path | None = None


@dataclass(frozen=True)
class Annotation:
    """A label picture, and its frame; None: by its name, else the first."""

    file: Path
    frame: int | None


def add_prompts(parser: argparse.ArgumentParser) -> None:
    """Adds the options. They fill `prompts`, an ObjectPrompt by (frame, object), `annotations` and `prompt_files`."""
    given = parser.add_argument_group("prompts, where the objects are (at least one)")
    for name, (metavar, pattern) in _FORMS.items():
        given.add_argument(f"--{name}", action=_AddPrompt, metavar=metavar, const=re.compile(pattern), help=_HELP[name])
    given.add_argument(
        "--annotation",
        dest="annotations",
        action="append",
        default=[],
        type=_annotation,
        metavar="[FRAME:]FILE",
        help="a label picture as of DAVIS and YouTube-VOS: every label is an object, 0 background, 255 void. Without FRAME it is for the frame of "
        "its own name (00120.png for 00120.jpg of a folder; of a film, 00120.png for frame 120), else for the first",
    )
    given.add_argument(
        "--prompts",
        dest="prompt_files",
        action="append",
        default=[],
        type=Path,
        metavar="FILE",
        help='a JSON list of prompts as on the wire, each with its frame: [{"frame": 120, "object": 2, "points": [[210, 350]], "labels": [1]}, ...]; '
        "keys: frame (default 0), object, points, labels, box, mask (COCO RLE), append, clear, remove",
    )
    parser.set_defaults(prompts={})


class _AddPrompt(argparse.Action):
    """Adds a prompt to `namespace.prompts`. `const` is the pattern of its text."""

    def __call__(self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, value: Any, option: str | None = None) -> None:
        match = self.const.fullmatch(value)
        if not match:
            raise argparse.ArgumentError(self, f"{value!r} is not {self.metavar}")
        object_id, frame = int(match["object"] or 1), int(match["frame"] or 0)
        if not 1 <= object_id < 2**63:
            raise argparse.ArgumentError(self, f"object {object_id} is not from 1 to 2**63 - 1")
        namespace.prompts[frame, object_id] = self._added(namespace.prompts.get((frame, object_id), ObjectPrompt()), match)

    def _added(self, prompt: ObjectPrompt, match: re.Match[str]) -> ObjectPrompt:
        said = match.groupdict()
        made = ObjectPrompt(list(prompt.points), list(prompt.labels), prompt.box, prompt.mask)
        numbers = [float(number) for number in said.get("numbers", "").split(",") if number]
        if (made.mask and "file" in said) or (made.box and len(numbers) == 4):
            raise argparse.ArgumentError(self, "an object takes one mask or box on a frame")
        if "file" in said:
            made.mask = Path(said["file"])
        elif len(numbers) == 4:
            made.box = numbers
        else:
            made.points.append(numbers)
            made.labels.append(int(said["label"] or 1))
        if made.mask and (made.points or made.box):
            raise argparse.ArgumentError(self, "an object takes a mask, or points and a box, on one frame, not both")
        return made


def _annotation(text: str) -> Annotation:
    match = _ANNOTATION.fullmatch(text)
    if not match:
        raise argparse.ArgumentTypeError(f"{text!r} is not [FRAME:]FILE")
    return Annotation(Path(match["file"]), int(match["frame"]) if match["frame"] else None)

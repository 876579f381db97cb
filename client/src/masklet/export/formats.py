"""The formats that results can be exported to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Format:
    """A form of results.

    module  of this package, whose `write` makes it
    what    in a line
    folder  whether it is a folder; else a file
    """

    module: str
    what: str
    folder: bool = False


FORMATS: Mapping[str, Format] = {
    "coco": Format("coco", "instances of COCO as JSON: exact masks as RLE, track_id beside"),
    "ytvis": Format("ytvis", "YouTube-VIS as JSON: one annotation per object, a mask or null per frame"),
    "davis": Format("davis", "indexed PNGs as of DAVIS and YouTube-VOS: Annotations/VIDEO/NAME.png", folder=True),
    "yolo": Format("yolo", "segments of Ultralytics YOLO: labels/NAME.txt, data.yaml", folder=True),
    "cvat": Format("cvat", "CVAT for images 1.1 as XML: a mask per object and frame"),
    "label-studio": Format("label_studio", "a task of Label Studio as JSON: boxes, for it has no masks in videos"),
    "mots": Format("mots", "MOTS: 16-bit PNGs, class * 1000 + instance, and the text of TrackEval", folder=True),
    "webm": Format("webm", "a film of the objects cut out of --video, the rest transparent"),
}

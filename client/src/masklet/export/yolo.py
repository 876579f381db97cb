"""Segments of Ultralytics YOLO: https://docs.ultralytics.com/datasets/segment. Memory: one frame."""

from __future__ import annotations

import json
from pathlib import Path

from masklet.export.contours import one_polygon
from masklet.export.results_file import FrameMasks, Results
from masklet.export.settings import Settings
from masklet.export.stems import Stems

_DIGITS = 6  # a ten-thousandth of a pixel in a frame of 10,000


def write(results: Results, out: Path, settings: Settings) -> None:
    """labels/NAME.txt with a line per object: class, then x y of corners, 0 to 1; and data.yaml, which expects images in images/. Raises ExportError.

    Parts and holes of an object are joined by seams without width. Which object it is (the track) is nowhere in this format.
    """
    labels = out / "labels"
    labels.mkdir(parents=True)
    categories = settings.categories(results.object_ids)
    names = "".join(f"  {number - 1}: {json.dumps(name)}\n" for name, number in categories.items())
    (out / "data.yaml").write_text(f"path: .\ntrain: images\nval: images\nnames:\n{names}", encoding="utf-8")
    stems = Stems()
    for frame in results:
        (labels / f"{stems.of(frame)}.txt").write_text(_lines(frame, settings, categories), encoding="ascii")


def _lines(frame: FrameMasks, settings: Settings, categories: dict[str, int]) -> str:
    height, width = frame.size
    lines = []
    for tracked in frame.objects:
        polygon = one_polygon(tracked.pixels()) / (width, height)
        if len(polygon):
            corners = " ".join(f"{number:.{_DIGITS}f}".rstrip("0").rstrip(".") for number in polygon.ravel().tolist())
            lines.append(f"{categories[settings.category(tracked.object_id)] - 1} {corners}\n")
    return "".join(lines)

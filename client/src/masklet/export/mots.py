"""MOTS: pictures as https://www.vision.rwth-aachen.de/page/mots has them, and the text that TrackEval reads. Memory: one frame."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from masklet import rle
from masklet.errors import ExportError
from masklet.export.labels import Overlaps, numbered
from masklet.export.png import write_16_bit
from masklet.export.results_file import FrameMasks, Results
from masklet.export.settings import Settings

_CLASS = 1000  # a pixel is class * 1000 + instance
_KNOWN = {"car": 1, "pedestrian": 2}  # the classes that TrackEval scores


def write(results: Results, out: Path, settings: Settings) -> None:
    """instances/VIDEO/000000.png, and instances_txt/VIDEO.txt: frame, id, class, height, width, RLE. Raises ExportError."""
    pictures, texts = out / "instances" / results.title, out / "instances_txt"
    pictures.mkdir(parents=True)
    texts.mkdir()
    classes = _classes(results, settings)
    instances = numbered(results.object_ids, 0, _CLASS - 1, settings.notes)
    numbers = {object_id: classes[settings.category(object_id)] * _CLASS + instances[object_id] for object_id in results.object_ids}
    overlaps = Overlaps()
    with (texts / f"{results.title}.txt").open("w", encoding="ascii") as file:
        for frame in results:
            picture = overlaps.picture(frame, numbers)
            write_16_bit(pictures / f"{frame.index:06}.png", picture)
            file.write(_text(frame, picture, numbers))
    settings.notes.extend(overlaps.notes())


def _text(frame: FrameMasks, picture: np.ndarray, numbers: dict[int, int]) -> str:
    lines = []
    for tracked in frame.objects:
        number = numbers[tracked.object_id]
        mask = picture == number
        if mask.any():
            height, width = frame.size
            lines.append(f"{frame.index} {number} {number // _CLASS} {height} {width} {rle.encode(mask)['counts']}\n")
    return "".join(lines)


def _classes(results: Results, settings: Settings) -> dict[str, int]:
    names = list(settings.categories(results.object_ids))
    numbers = [number for number in range(3, 65) if number != 10]  # 10: regions that are ignored
    others = [name for name in names if name not in _KNOWN]
    if len(others) > len(numbers):
        raise ExportError(f"{len(others)} names besides car and pedestrian; 16 bits hold {len(numbers)} more classes. Give objects names in common.")
    classes = _KNOWN | dict(zip(others, numbers, strict=False))
    if foreign := [f"{name} is {classes[name]}" for name in others]:
        settings.notes.append(f"classes: {', '.join(foreign)}. TrackEval scores 1 and 2: for those, --name ID=car or ID=pedestrian.")
    return classes

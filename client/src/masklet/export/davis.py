"""DAVIS and YouTube-VOS: an indexed PNG a frame. Memory: one frame."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from masklet.export.labels import Overlaps, numbered
from masklet.export.png import davis_palette, write_indexed
from masklet.export.results_file import Results
from masklet.export.settings import Settings
from masklet.export.stems import Stems

_LAST = 254  # 255 is void there


def write(results: Results, out: Path, settings: Settings) -> None:
    """Annotations/VIDEO/NAME.png, 0 background, else the object; 255 means void there and is no object. Raises ExportError."""
    folder = out / "Annotations" / results.title
    folder.mkdir(parents=True)
    numbers = numbered(results.object_ids, 1, _LAST, settings.notes)
    overlaps, stems, palette = Overlaps(), Stems(), davis_palette()
    for frame in results:
        write_indexed(folder / f"{stems.of(frame)}.png", overlaps.picture(frame, numbers).astype(np.uint8), palette)
    settings.notes.extend(overlaps.notes())

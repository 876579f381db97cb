"""CVAT for images 1.1: https://docs.cvat.ai/docs/manual/advanced/xml_format. Memory: one frame."""

from __future__ import annotations

from pathlib import Path
from typing import TextIO
from xml.sax.saxutils import escape, quoteattr

import numpy as np
from numpy.typing import NDArray

from masklet.export.extent import extent
from masklet.export.results_file import FrameMasks, Results
from masklet.export.settings import Settings


def write(results: Results, out: Path, settings: Settings) -> None:
    """A mask per object and frame; `track_id` is the object, z_order says which covers which. CVAT has no masks that are tracks."""
    with out.open("w", encoding="utf-8") as file:
        file.write('<?xml version="1.0" encoding="utf-8"?>\n<annotations>\n<version>1.1</version>\n')
        labels = "".join(f"<label><name>{escape(name)}</name></label>" for name in settings.categories(results.object_ids))
        file.write(f"<meta><task><name>{escape(results.title)}</name><mode>annotation</mode><labels>{labels}</labels></task></meta>\n")
        for frame in results:
            _write_image(file, frame, settings)
        file.write("</annotations>\n")


def _write_image(file: TextIO, frame: FrameMasks, settings: Settings) -> None:
    height, width = frame.size
    file.write(f'<image id="{frame.index}" name={quoteattr(frame.image)} width="{width}" height="{height}">\n')
    for order, tracked in enumerate(frame.objects):
        mask = tracked.pixels()
        (left, top, wide, high), area = extent(mask)
        if area:
            runs = ", ".join(map(str, row_runs(mask[top : top + high, left : left + wide])))
            file.write(
                f'<mask label={quoteattr(settings.category(tracked.object_id))} source="auto" occluded="0" rle="{runs}" left="{left}" top="{top}" '
                f'width="{wide}" height="{high}" z_order="{order}"><attribute name="track_id">{tracked.object_id}</attribute></mask>\n'
            )
    file.write("</image>\n")


def row_runs(mask: NDArray[np.bool_]) -> list[int]:
    """Lengths of the runs along the rows of a mask (H, W), row after row; the first is of zeros and may be 0."""
    flat = np.concatenate([[False], mask.ravel()])
    changes = np.flatnonzero(flat[1:] != flat[:-1])
    lengths: list[int] = np.diff(np.concatenate([[0], changes, [mask.size]])).tolist()
    return lengths

"""COCO: https://cocodataset.org/#format-data. Memory: one frame."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from masklet.export.extent import extent
from masklet.export.json_text import write_object
from masklet.export.results_file import Results
from masklet.export.settings import Settings


def write(results: Results, out: Path, settings: Settings) -> None:
    """Masks byte for byte as in the results. Ids of images are frame numbers from 1; `track_id` is the object. Empty masks have no annotation."""
    categories = settings.categories(results.object_ids)
    listed = [{"id": number, "name": name} for name, number in categories.items()]
    with out.open("w", encoding="utf-8") as file:
        write_object(
            file,
            {"info": {"description": results.title}, "licenses": [], "categories": listed},
            {"images": _images(results), "annotations": _annotations(results, settings, categories)},
        )


def _images(results: Results) -> Iterator[str]:
    for frame in results:
        height, width = frame.size
        yield json.dumps({"id": frame.index + 1, "file_name": frame.image, "height": height, "width": width, "frame_index": frame.index})


def _annotations(results: Results, settings: Settings, categories: dict[str, int]) -> Iterator[str]:
    number = 0
    for frame in results:
        for tracked in frame.objects:
            box, area = extent(tracked.pixels())
            if not area:
                continue
            number += 1
            yield json.dumps(
                {
                    "id": number,
                    "image_id": frame.index + 1,
                    "category_id": categories[settings.category(tracked.object_id)],
                    "track_id": tracked.object_id,
                    "segmentation": tracked.mask,
                    "bbox": box,
                    "area": area,
                    "iscrowd": 0,
                    "score": tracked.score,
                }
            )

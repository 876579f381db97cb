"""YouTube-VIS: videos, and annotations with a mask or null per frame. Memory: 24 bytes a mask and the names of frames; masks wait on disk."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryFile

from masklet.errors import ExportError
from masklet.export.extent import extent
from masklet.export.json_text import write_list
from masklet.export.results_file import Results
from masklet.export.settings import Settings
from masklet.export.tracks import Tracks

_PARTS = ("segmentations", "bboxes", "areas")  # of what is kept of a mask, in this order


def write(results: Results, out: Path, settings: Settings) -> None:
    """Masks byte for byte as in the results; null where an object has no pixel. Raises ExportError for frames of several sizes."""
    with TemporaryFile() as store, out.open("w", encoding="utf-8") as file:
        tracks = Tracks(store)
        video = _video(results, tracks)
        categories = settings.categories(results.object_ids)
        listed = [{"id": number, "name": name} for name, number in categories.items()]
        head = {"info": {"description": results.title}, "licenses": [], "categories": listed, "videos": [video]}
        file.write(json.dumps(head)[:-1] + ',\n"annotations": [')
        for number, object_id in enumerate(results.object_ids, 1):
            said = {
                "id": number,
                "video_id": 1,
                "category_id": categories[settings.category(object_id)],
                "track_id": object_id,
                "iscrowd": 0,
                **{side: video[side] for side in ("height", "width", "length")},
            }
            file.write(("," if number > 1 else "") + f"\n{json.dumps(said)[:-1]}")
            for place, part in enumerate(_PARTS):
                file.write(f', "{part}": ')
                write_list(file, _by_frame(tracks, object_id, place, results.count))
            file.write("}")
        file.write("]}\n")


def _video(results: Results, tracks: Tracks) -> dict[str, object]:
    """The entry of the video; its masks go into `tracks`."""
    names, sizes = [], set()
    for place, frame in enumerate(results):
        names.append(f"{results.title}/{frame.image}")
        sizes.add(frame.size)
        for tracked in frame.objects:
            box, area = extent(tracked.pixels())
            if area:
                tracks.add(tracked.object_id, place, (tracked.mask, box, area))
    if len(sizes) > 1:
        raise ExportError(f"the frames have several sizes, {_listed(sizes)} (height x width), and a video of ytvis has one. coco takes them.")
    ((height, width),) = sizes
    return {"id": 1, "file_names": names, "height": height, "width": width, "length": len(names)}


def _listed(sizes: set[tuple[int, int]]) -> str:
    return ", ".join(f"{height} x {width}" for height, width in sorted(sizes))


def _by_frame(tracks: Tracks, object_id: int, part: int, count: int) -> Iterator[str]:
    """One part of what is kept of a mask, for each frame."""
    next_place = 0
    for place, entry in tracks.of(object_id):
        yield from ["null"] * (place - next_place)
        yield json.dumps(entry[part])
        next_place = place + 1
    yield from ["null"] * (count - next_place)

"""Label Studio: a task with boxes in a video (VideoRectangle). Memory: 24 bytes a box; boxes wait on disk."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any, TextIO
from xml.sax.saxutils import quoteattr

from masklet.export.extent import extent
from masklet.export.json_text import write_list
from masklet.export.results_file import Results
from masklet.export.settings import Settings
from masklet.export.tracks import Tracks
from masklet.sources.addresses import scheme, without_secrets


def write(results: Results, out: Path, settings: Settings) -> None:
    """A list of one task, whose annotation has a region per object. Boxes are in percent of the frame, frames count from 1."""
    video = str(settings.video) if isinstance(settings.video, str | Path) else f"{results.title}.mp4"
    video = without_secrets(video) if scheme(video) else video  # what is labelled is shared
    with TemporaryFile() as store, out.open("w", encoding="utf-8") as file:
        tracks = Tracks(store)
        last = _collect(results, tracks)
        file.write(f'[{{"data": {json.dumps({"video": video})}, "annotations": [{{"result": ')
        for place, object_id in enumerate(results.object_ids):
            file.write(("," if place else "[") + "\n")
            _write_region(file, tracks, object_id, settings.category(object_id), last, results.fps)
        file.write("]" if results.object_ids else "[]")
        file.write("}]}]\n")
    labels = "".join(f"<Label value={quoteattr(name)}/>" for name in settings.categories(results.object_ids))
    settings.notes.append(
        f"the labelling interface of the project: <View><Labels name='label' toName='video'>{labels}</Labels>"
        f"<Video name='video' value='$video' framerate='{results.fps:g}'/><VideoRectangle name='box' toName='video'/></View>. "
        f"data.video is {video!r}: put in where Label Studio finds it."
    )


def _collect(results: Results, tracks: Tracks) -> int:
    """Puts each object's boxes into `tracks`; gives the index of the last frame."""
    for frame in results:
        height, width = frame.size
        for tracked in frame.objects:
            (left, top, wide, high), area = extent(tracked.pixels())
            if area:
                box = {"x": 100 * left / width, "y": 100 * top / height, "width": 100 * wide / width, "height": 100 * high / height}
                tracks.add(tracked.object_id, frame.index, {**box, "rotation": 0, "time": frame.time_s})
    return frame.index


def _write_region(file: TextIO, tracks: Tracks, object_id: int, name: str, last: int, fps: float) -> None:
    said = {"id": f"object_{object_id}", "type": "videorectangle", "from_name": "box", "to_name": "video"}
    value = {"labels": [name], "framesCount": last + 1, "duration": (last + 1) / fps}
    file.write(f'{json.dumps(said)[:-1]}, "value": {json.dumps(value)[:-1]}, "sequence": ')
    write_list(file, map(json.dumps, _sequence(tracks, object_id)))
    file.write("}}")


def _sequence(tracks: Tracks, object_id: int) -> Iterator[dict[str, Any]]:
    """The object's key frames; it stays visible up to the next one where `enabled`, so not where it is gone in the next frame."""
    before: tuple[int, dict[str, Any]] | None = None
    for frame, entry in tracks.of(object_id):
        if before:
            yield {"frame": before[0] + 1, "enabled": frame == before[0] + 1, **before[1]}
        before = frame, entry
    if before:
        yield {"frame": before[0] + 1, "enabled": False, **before[1]}

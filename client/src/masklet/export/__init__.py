"""Results of `masklet track` in the forms that other tools read.

formats.py        what there is: the table
results_file.py   reading masks.jsonl, frame by frame
settings.py       what a user says of the export: names of objects, the video
labels.py         masks as one picture of numbers
contours.py       masks as polygons
png.py            indexed and 16-bit pictures
tracks.py         from masks by frame to masks by object, in a temporary file
coco.py ...       a module for each format, with its `write`

Only numpy; `webm` needs PyAV.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from masklet.errors import ExportError
from masklet.export.formats import FORMATS, Format

if TYPE_CHECKING:
    from masklet.sources import Frame

__all__ = ["FORMATS", "ExportError", "Exported", "Format", "export"]


@dataclass(frozen=True)
class Exported:
    """What was written: the frames and objects in it, and what somebody who uses it must know, in sentences."""

    frames: int
    objects: int
    notes: tuple[str, ...]


def export(
    results: str | Path,
    format: str,
    out: str | Path,
    *,
    names: Mapping[int, str] | None = None,
    objects: Collection[int] | None = None,
    fps: float | None = None,
    video: str | Path | Iterable[Frame] | None = None,
) -> Exported:
    """Writes results in another form; all of it or nothing.

    results  folder that `masklet track` wrote, or its masks.jsonl
    format   one of FORMATS
    out      file or folder to make, as the format has it: new, or an empty folder
    names    what objects are, by id: their category; "object" for others. Objects of one name are of one category
    objects  ids of those to write; default: all
    fps      frames per second, instead of the times in the results; 25 where these have none
    video    what was tracked: a film, a folder of images, or frames. webm needs it; of others, those that name images or the film, use its name

    Raises ExportError, and MaskletError of `masklet.sources` for the video.
    """
    if format not in FORMATS:
        raise ExportError(f"there is no format {format!r}. Formats: {', '.join(FORMATS)}.")
    from masklet.export.results_file import Results  # numpy, which the command line does without
    from masklet.export.settings import Settings

    chosen, target = FORMATS[format], Path(out).resolve()
    if target.exists() and not (chosen.folder and target.is_dir() and not any(target.iterdir())):
        raise ExportError(f"{target} exists already. Choose another place for the export.")
    settings = Settings(names or {}, fps, video)
    read = Results(Path(results), objects, settings)
    target.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix=f"{target.name}.", suffix=".part", dir=target.parent) as beside:
        part = Path(beside) / target.name
        import_module(f"masklet.export.{chosen.module}").write(read, part, settings)
        if not target.exists():
            part.replace(target)
        else:  # an empty folder stays the one that it was: somebody may be in it
            for made in part.iterdir():
                made.replace(target / made.name)
    return Exported(read.count, len(read.object_ids), tuple(settings.notes))

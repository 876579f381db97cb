"""Reading what `masklet track` wrote: masks.jsonl, a line a frame."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from masklet import rle
from masklet.errors import ExportError
from masklet.export.settings import Settings
from masklet.rle import Rle

_FILE = "masks.jsonl"
_FPS = 25.0


@dataclass(frozen=True, eq=False)
class Tracked:
    """An object in a frame: its id, its mask as it was stored, and the presence score (a logit; above 0 it is there). `place` is for errors."""

    object_id: int
    mask: Rle
    score: float
    place: str

    def pixels(self) -> NDArray[np.bool_]:
        """The mask, bool (H, W). Raises ExportError."""
        try:
            return rle.decode(self.mask)
        except ValueError as error:
            raise ExportError(f"{self.place}: {error}") from error


@dataclass(frozen=True, eq=False)
class FrameMasks:
    """A frame of the results. `objects` are in the order in which they cover each other, `size` is (height, width)."""

    index: int
    name: str
    time_s: float
    size: tuple[int, int]
    objects: tuple[Tracked, ...]

    @property
    def stem(self) -> str:
        """Its name without suffix, for files beside it."""
        return Path(self.name).stem if Path(self.name).suffix else self.name

    @property
    def image(self) -> str:
        """Name of its image; of frames of films, the one that they get when they are saved as JPEG."""
        return self.name if Path(self.name).suffix else f"{self.name}.jpg"


class Results:
    """The frames of a masks.jsonl in the order of their index; iterating reads them one by one, each time anew.

    In memory is a place in the file for each frame. Where two lines are about one frame, the later one counts. A last line that is not whole, of a
    run that was cut short, is left out. Raises ExportError.

    title       name of the video: that of the results' folder
    object_ids  in ascending order
    """

    def __init__(self, path: Path, objects: Collection[int] | None, settings: Settings) -> None:
        self._file = path / _FILE if path.is_dir() else path
        if not self._file.is_file():
            raise ExportError(f"there are no results: {self._file} is no file. Give the folder that masklet track wrote, or its {_FILE}.")
        self.title = (self._file.resolve().parent if self._file.name == _FILE else self._file).stem or "video"
        self._settings = settings
        self._wanted = objects
        self._places: dict[int, tuple[int, int]] = {}  # frame index -> offset of its line, number of the line
        self._names: dict[int, str] = {}
        self._first_size: tuple[int, int] | None = None
        self._scan()

    @property
    def count(self) -> int:
        """How many frames there are, without skipped ones."""
        return len(self._places)

    @property
    def fps(self) -> float:
        """Frames per second: as the user said, else by the times of the first and the last frame."""
        frames, seconds = self._span
        return self._settings.fps or (frames / seconds if seconds > 0 else _FPS)

    def __iter__(self) -> Iterator[FrameMasks]:
        size = self._first_size
        with self._file.open("rb") as file:
            for index, (offset, number) in self._places.items():
                file.seek(offset)
                frame = self._frame(index, self._parsed(file.readline(), number), number, size)
                size = frame.size
                yield frame

    def _scan(self) -> None:
        seen: set[int] = set()
        skipped: set[int] = set()
        times: dict[int, float] = {}
        nameless = False
        with self._file.open("rb") as file:
            for number, offset, line in _lines(file):
                if not line.endswith(b"\n") and not _whole(line):
                    self._settings.notes.append("the last line is not whole, as after a run that was cut short: it is left out.")
                    continue
                content = self._parsed(line, number)
                index = content["frame"]
                if "skipped" in content:
                    skipped.add(index)
                    continue
                self._places[index] = offset, number
                times[index] = content.get("time") or 0.0
                nameless |= "name" not in content
                seen.update(entry["object"] for entry in content["objects"])
                self._first_size = self._first_size or _size(content)
        self._places = dict(sorted(self._places.items()))
        if not self._places:
            raise ExportError(f"{self._file} holds no frame.")
        first, last = next(iter(self._places)), next(reversed(self._places))
        self._span = last - first, times[last] - times[first]
        self.object_ids = self._chosen(seen)
        if skipped - self._places.keys():
            self._settings.notes.append(f"{len(skipped - self._places.keys())} frames that were skipped when they were tracked are left out.")
        if nameless:
            self._names = self._names_of_images()

    def _chosen(self, seen: set[int]) -> tuple[int, ...]:
        known = f"Objects: {', '.join(map(str, sorted(seen))) or 'none'}."
        for said in (self._wanted or (), self._settings.names):
            if unknown := sorted(set(said) - seen):
                raise ExportError(f"the results have no object {', '.join(map(str, unknown))}. {known}")
        return tuple(sorted(seen if self._wanted is None else self._wanted))

    def _names_of_images(self) -> dict[int, str]:
        """Names that lines of older results do not have, if the video is a folder."""
        video = self._settings.video
        if not isinstance(video, str | Path) or not Path(video).is_dir():
            return {}
        with self._settings.frames() as frames:
            return {frame.index: frame.name for frame in frames}

    def _parsed(self, line: bytes, number: int) -> dict[str, Any]:
        try:
            content = json.loads(line)
            ids = [] if "skipped" in content else [entry["object"] for entry in content["objects"]]
            if not all(type(number) is int for number in (content["frame"], *ids)):
                raise ValueError("a number of a frame or object is no integer")
        except UnicodeDecodeError as error:  # its text has the whole line
            advice = "Give the folder that masklet track wrote, or its masks.jsonl; the video goes with --video."
            raise ExportError(f"line {number} of {self._file} is no text. {advice}") from error
        except (ValueError, KeyError, TypeError) as error:
            raise ExportError(
                f"line {number} of {self._file} is none of masklet track ({error!r}). If the file is damaged there, take the line out."
            ) from error
        return dict(content)

    def _frame(self, index: int, content: dict[str, Any], number: int, before: tuple[int, int] | None) -> FrameMasks:
        size = _size(content) or before
        if size is None:
            raise ExportError(f"no line of {self._file} says how large the frames are, and none has an object: there is nothing to export.")
        place = f"a mask in line {number} of {self._file} (frame {index}) cannot be read"
        objects = []
        for entry in content["objects"]:
            if self._wanted is not None and entry["object"] not in self._wanted:
                continue
            mask = entry.get("mask")
            if not isinstance(mask, dict) or mask.get("size") != list(size):
                raise ExportError(f"{place}: it is {str(mask)[:60]}, and no COCO RLE of the frame's size {list(size)}.")
            objects.append(Tracked(entry["object"], Rle(size=list(size), counts=mask.get("counts", "")), float(entry.get("score", 0.0)), place))
        time_s = index / self._settings.fps if self._settings.fps else content.get("time", index / _FPS)
        name = Path(content.get("name") or self._names.get(index, f"{index:05}")).name
        return FrameMasks(index, name, time_s, size, tuple(objects))


def _lines(file: BinaryIO) -> Iterator[tuple[int, int, bytes]]:
    """Number, offset and bytes of each line that is not empty."""
    offset = 0
    for number, line in enumerate(file, 1):
        if line.strip():
            yield number, offset, line
        offset += len(line)


def _whole(line: bytes) -> bool:
    try:
        json.loads(line)
    except ValueError:
        return False
    return True


def _size(content: dict[str, Any]) -> tuple[int, int] | None:
    said = content.get("size") or next((entry["mask"]["size"] for entry in content["objects"]), None)
    return (int(said[0]), int(said[1])) if said else None

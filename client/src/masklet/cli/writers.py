"""What `masklet track` writes: indexed masks, run lengths, an overlay video."""

from __future__ import annotations

import json
import os
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from masklet import rle
from masklet.cli.failure import Failure, need
from masklet.cli.film import Film
from masklet.masks import nearest
from masklet.overlay import colour, overlay
from masklet.results import TrackedFrame
from masklet.sources import Frame, Skipped

_LARGEST = 255  # number of an object in PNG masks; 0 is background


class Results:
    """Writes the results of a video into a folder, frame by frame; what is there stays when the work is cut short. Raises Failure, OSError.

    A frame is written in the order PNG, line, overlay. Nothing is made before the first frame, so that a failed start leaves no folder behind.

    numbers   in PNG masks, by object id
    fps       None: frames have their own times; else there are so many in a second
    film_fps  what the overlay says of itself
    frames    how many are written
    length    bytes of masks.jsonl
    """

    def __init__(self, folder: Path, numbers: Mapping[int, int], fps: float | None, film_fps: float) -> None:
        self._image = need("PIL.Image")
        self._folder, self._numbers, self._fps = folder, numbers, fps
        self.frames = self.length = 0
        self._names: set[str] = set()
        self._skipped: deque[Skipped] = deque()  # until their turn: frames are read before the results of earlier ones come
        self._lines: BinaryIO | None = None
        self._film = Film(folder / "overlay.mp4", film_fps)

    def begin(self) -> None:
        """Makes the folder and what is in it."""
        if self._lines:
            return
        (self._folder / "masks").mkdir(parents=True, exist_ok=True)
        self._lines = (self._folder / "masks.jsonl").open("ab")
        if other := {number: object_id for object_id, number in self._numbers.items() if number != object_id}:
            (self._folder / "objects.json").write_text(json.dumps(other) + "\n", encoding="utf-8")

    def write(self, frame: Frame, result: TrackedFrame | None) -> None:
        """Adds a frame, after `begin`; None: it has no objects yet."""
        self._tell_skipped(before=frame.index)
        if result is not None and tuple(frame.size) != frame.image.shape[:2]:
            result = result.at_size(frame.size)
        ids: Sequence[int] = result.object_ids if result else ()
        masks = result.masks if result else np.zeros((0, *frame.size), np.bool_)
        self._save(frame, masks, ids)
        self._add({"frame": frame.index, **self._about(frame), **_of_camera(result), "objects": _objects(result) if result else []})
        self._draw(frame, masks, ids)

    def skip(self, skipped: Skipped) -> None:
        """Adds, in its turn, a frame that could not be read. May be called in another thread."""
        self._skipped.append(skipped)

    def finish(self) -> None:
        """Adds what waits for its turn. All frames have come."""
        if self._lines:
            self._tell_skipped(before=None)

    def restored(self, length: int) -> Iterator[dict[str, Any]]:
        """The lines of the frames in the first bytes of masks.jsonl; what is behind is cut off, and gets written again."""
        file = self._folder / "masks.jsonl"
        if (file.stat().st_size if file.exists() else 0) < length:
            raise Failure(f"{file} is shorter than it was when the work was cut short. Choose another folder, and start again.")
        self.begin()
        assert self._lines
        self._lines.truncate(length)
        self.length = length
        with file.open("rb") as lines:
            while lines.tell() < length:
                line = json.loads(lines.readline())
                if "skipped" not in line:
                    yield line

    def redraw(self, frame: Frame, line: Mapping[str, Any]) -> None:
        """Draws a frame that was written before. Raises Failure if it is not the frame of this line."""
        if {name: line.get(name) for name in ("name", "time", "size")} != self._about(frame):
            was = f"frame {line['frame']} was {line.get('name')}, {line.get('size')} at {line.get('time')} s"
            raise Failure(f"this is not the video that {self._folder} is of: {was}, now {self._about(frame)}. Choose another folder.")
        self._name_of(frame)
        masks = [rle.decode(said["mask"], frame.size) for said in line["objects"]]
        self._draw(frame, np.stack(masks) if masks else np.zeros((0, *frame.size), np.bool_), [said["object"] for said in line["objects"]])
        self.frames += 1

    def sync(self) -> None:
        """Waits until the lines are on the disk."""
        if self._lines:
            os.fsync(self._lines.fileno())

    def __enter__(self) -> Results:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        with suppress(OSError) if error else nullcontext():  # the first error is the one to see
            try:
                if self._lines:
                    self._lines.close()
            finally:
                self._film.close()

    def _tell_skipped(self, before: int | None) -> None:
        while self._skipped and (before is None or self._skipped[0].index < before):
            skipped = self._skipped.popleft()
            self._add({"frame": skipped.index, "name": skipped.name, "skipped": skipped.why})

    def _add(self, line: Mapping[str, Any]) -> None:
        text = json.dumps(line).encode() + b"\n"
        assert self._lines
        self._lines.write(text)
        self._lines.flush()
        self.length += len(text)
        self.frames += "skipped" not in line

    def _about(self, frame: Frame) -> dict[str, Any]:
        return {"name": frame.name, "time": round(self._time_s(frame), 6), "size": list(frame.size)}

    def _time_s(self, frame: Frame) -> float:
        return frame.index / self._fps if self._fps else frame.time_s

    def _save(self, frame: Frame, masks: NDArray[np.bool_], ids: Sequence[int]) -> None:
        picture = self._image.fromarray(indexed(masks, [self._numbers[object_id] for object_id in ids]))
        colours = {number: colour(object_id) for object_id, number in self._numbers.items()}
        picture.putpalette([0, 0, 0, *(channel for number in range(1, 256) for channel in colours.get(number, colour(number)))])
        picture.save(self._folder / "masks" / self._name_of(frame))

    def _name_of(self, frame: Frame) -> str:
        """The name of its PNG: that of the frame, numbers with five digits; with its suffix where another frame has the same (a.jpg, a.png)."""
        name = Path(frame.name).stem
        name = name.zfill(5) if name.isdecimal() else name
        if name in self._names:
            name = frame.name
        self._names.add(name)
        return f"{name}.png"

    def _draw(self, frame: Frame, masks: NDArray[np.bool_], ids: Sequence[int]) -> None:
        size = frame.image.shape[:2]
        if masks.shape[1:] != size:
            masks = np.stack([nearest(mask, size) for mask in masks]) if len(masks) else np.zeros((0, *size), np.bool_)
        self._film.add(overlay(frame.image, masks, ids), self._time_s(frame))


def numbers(object_ids: Sequence[int], before: Mapping[int, int]) -> dict[int, int]:
    """The numbers of objects in PNG masks: ids up to 255 are their own, others get the lowest that are free. Raises Failure where there are none.

    before  numbers that were given already
    """
    given = dict(before) | {object_id: object_id for object_id in object_ids if 1 <= object_id <= _LARGEST and object_id not in before.values()}
    free = iter(sorted(set(range(1, _LARGEST + 1)) - set(given.values())))
    for object_id in object_ids:
        if object_id in given:
            continue
        number = next(free, None)
        if number is None:
            raise Failure(f"there are {len(object_ids)} objects; PNG masks hold {_LARGEST} at most. Track them in several runs.")
        given[object_id] = number
    return given


def numbers_in(folder: Path) -> dict[int, int]:
    """The numbers that `objects.json` of earlier results says: only of objects whose number is not their id."""
    file = folder / "objects.json"
    return {object_id: int(number) for number, object_id in json.loads(file.read_bytes()).items()} if file.exists() else {}


def indexed(masks: NDArray[np.bool_], values: Sequence[int]) -> NDArray[np.uint8]:
    """The masks (N, H, W) as one uint8 image (H, W): 0, or the value of an object; a later object covers an earlier one."""
    image = np.zeros(masks.shape[1:], dtype=np.uint8)
    for value, mask in zip(values, masks, strict=True):
        image[mask] = value
    return image


def _of_camera(result: TrackedFrame | None) -> dict[str, Any]:
    """What became of a frame of a live source."""
    if result is None or result.age_s is None:
        return {}
    return {"label": result.label, "jumped_over": result.skipped, "age": round(result.age_s, 6)}


def _objects(result: TrackedFrame) -> list[dict[str, Any]]:
    """The objects of a line of `masks.jsonl`."""
    rows = zip(result.object_ids, result.rles, result.boxes.tolist(), result.scores.tolist(), result.ious.tolist(), strict=True)
    return [{"object": object_id, "mask": mask, "box": box, "score": score, "iou": iou} for object_id, mask, box, score, iou in rows]

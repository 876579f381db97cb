"""The prompts of a run: collected from the command line, files and annotations, and given to the video with their frames."""

from __future__ import annotations

import argparse
import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from masklet import prompts as wire
from masklet import rle
from masklet.cli.failure import Failure
from masklet.cli.pictures import read_annotation, read_mask
from masklet.cli.prompts_text import Annotation, ObjectPrompt
from masklet.errors import BadPrompt
from masklet.masks import nearest
from masklet.sources import Frame
from masklet.video import Video

_KEYS = ("object", "frame", "points", "labels", "box", "mask", "append", "clear", "remove")
_FILM_NAME = re.compile(r"\d{5,}")  # how the masks of films are named: 00120.png

Key = int | str  # index of a frame, or its name without suffix


@dataclass(frozen=True)
class Prompt:
    """What is said of one object on one frame.

    origin  where it was said, for people
    said    the arguments of `Video.prompt`, coordinates in pixels of the source, a mask as bool (H, W); None: the object is forgotten from here on
    """

    object_id: int
    origin: str
    said: Mapping[str, Any] | None


class Prompts:
    """Gives each frame its prompts, once.

    of_camera  frames that do not come are no mistake: their prompts go with the next one
    """

    def __init__(self, by_frame: Mapping[Key, list[Prompt]]) -> None:
        self.of_camera = False
        self._by_frame = by_frame
        self._used: dict[Key, int] = {}  # and the index of its frame

    @property
    def object_ids(self) -> list[int]:
        """All objects, in ascending order."""
        return sorted({prompt.object_id for prompts in self._by_frame.values() for prompt in prompts if prompt.said is not None})

    @property
    def last(self) -> int:
        """The last index that has prompts; -1 where all are for frames by name."""
        return max((key for key in self._by_frame if isinstance(key, int)), default=-1)

    def are_for(self, frame: Frame) -> bool:
        """Whether the frame has prompts."""
        return any(key in self._by_frame for key in _keys(frame)) or bool(self.of_camera and self._left_out(frame))

    def give(self, video: Video, frame: Frame) -> None:
        """Gives the video what is said of this frame, scaled to the picture that is sent. Raises Failure and MaskletError."""
        for prompt in self.use(frame):
            if prompt.said is None:
                video.remove(prompt.object_id)
                continue
            try:
                video.prompt(prompt.object_id, **_scaled(prompt, frame))
            except BadPrompt as error:
                raise Failure(f"{prompt.origin}: {error}") from error

    def use(self, frame: Frame) -> list[Prompt]:
        """The prompts of this frame, which count as given. Raises Failure where frames with prompts were left out before it."""
        left_out = self._left_out(frame)
        if left_out and not self.of_camera:
            raise Failure(f"frame {min(left_out)} has prompts but cannot be read. Give them on a frame beside it.")
        found: list[Prompt] = []
        for key in (*left_out, *_keys(frame)):
            if key in self._by_frame:
                self._used[key] = frame.index
                for prompt in self._by_frame[key]:
                    _add(found, prompt, frame.index)
        return found

    def _left_out(self, frame: Frame) -> list[int]:
        """The frames with prompts that should have come before this one, and did not."""
        return sorted(key for key in self._by_frame if isinstance(key, int) and key < frame.index and key not in self._used)

    @property
    def unused(self) -> list[Key]:
        """The frames with prompts that did not come."""
        return [key for key in self._by_frame if key not in self._used]

    def digest(self, index: int) -> str:
        """Says which prompts were given up to the frame of this index."""
        given = [
            [self._used[key], prompt.object_id, _plain(prompt.said)]
            for key in sorted(self._used, key=lambda key: (self._used[key], str(key)))
            for prompt in self._by_frame[key]
            if self._used[key] <= index
        ]
        return hashlib.sha256(json.dumps(given, sort_keys=True).encode()).hexdigest()


def collect(arguments: argparse.Namespace) -> Prompts:
    """All that the command line says, with the files that it names. Raises Failure."""
    by_frame: dict[Key, list[Prompt]] = {}
    given: list[tuple[Key, Prompt]] = [found for file in arguments.prompt_files for found in _from_file(file)]
    given += [found for annotation in arguments.annotations for found in _annotated(annotation, arguments.video)]
    given += [(frame, _written(object_id, said)) for (frame, object_id), said in arguments.prompts.items()]
    for key, prompt in given:
        _add(by_frame.setdefault(key, []), prompt, key)
    if not any(prompt.said is not None for _, prompt in given):
        raise Failure("nothing to track: the files of prompts are empty.")
    return Prompts(by_frame)


def _add(prompts: list[Prompt], prompt: Prompt, frame: Key) -> None:
    """Adds a prompt to those of a frame. Raises Failure for a second one of an object."""
    same = [other for other in prompts if other.object_id == prompt.object_id]
    if same and not (prompt.said or {}).get("append"):
        raise Failure(f"object {prompt.object_id} has two prompts on frame {frame}: {same[0].origin} and {prompt.origin}. Leave one out.")
    prompts.append(prompt)


def _keys(frame: Frame) -> tuple[Key, ...]:
    return frame.index, Path(frame.name).stem


def _written(object_id: int, said: ObjectPrompt) -> Prompt:
    if said.mask is not None:
        return Prompt(object_id, f"--mask {said.mask}", {"mask": read_mask(said.mask, object_id)})
    points = {"points": said.points, "labels": said.labels} if said.points else {}
    box = {"box": said.box} if said.box else {}
    return Prompt(object_id, "--point" if said.points else "--box", points | box)


def _annotated(annotation: Annotation, video: str) -> Iterable[tuple[Key, Prompt]]:
    key = annotation.frame if annotation.frame is not None else _named(annotation.file, video)
    for label, mask in read_annotation(annotation.file).items():
        yield key, Prompt(label, f"--annotation {annotation.file}", {"mask": mask})


def _named(file: Path, video: str) -> Key:
    """The frame that an annotation is for by its name."""
    if Path(video).is_dir():
        return file.stem if any(picture.stem == file.stem for picture in Path(video).iterdir()) else 0
    return int(file.stem) if _FILM_NAME.fullmatch(file.stem) else 0


def _from_file(file: Path) -> Iterable[tuple[Key, Prompt]]:
    try:
        entries = json.loads(file.read_bytes())
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else f"it is no JSON, {error}"
        raise Failure(f"{file} cannot be read: {why}") from error
    if not isinstance(entries, list):
        raise Failure(f'{file} is no list of prompts: [{{"frame": 0, "object": 1, "points": [[210, 350]]}}, ...]')
    for number, entry in enumerate(entries, 1):
        origin = f"{file}, entry {number}"
        try:
            yield _entry(entry, origin)
        except (BadPrompt, ValueError, TypeError) as error:
            raise Failure(f"{origin}: {error}") from error


def _entry(entry: Any, origin: str) -> tuple[int, Prompt]:
    """One entry of a prompts file. Raises BadPrompt, ValueError and TypeError."""
    if not isinstance(entry, dict) or "object" not in entry:
        raise ValueError(f'{str(entry)[:80]} is no prompt: {{"object": 1, "frame": 0, "points": [[210, 350]]}}')
    if unknown := sorted(set(entry) - set(_KEYS)):
        raise ValueError(f"unknown key {unknown[0]!r}. Known: {', '.join(_KEYS)}.")
    frame = entry.get("frame", 0)
    if type(frame) is not int or frame < 0:
        raise ValueError(f"frame is {frame!r}. It is the index of a frame, from 0.")
    for name in ("append", "clear", "remove"):
        if type(entry.get(name, False)) is not bool:
            raise ValueError(f"{name} is {entry[name]!r}, not true or false.")
    if entry.get("remove"):
        return frame, Prompt(wire.identifier(entry["object"]), origin, None)
    said = {name: entry[name] for name in _KEYS[2:-1] if entry.get(name) not in (None, False)}
    if "mask" in said:
        said["mask"] = rle.decode(said["mask"])
        if not said["mask"].any():
            raise ValueError("the mask is empty.")
    return frame, Prompt(wire.item(entry["object"], **said)["object"], origin, said)


def _scaled(prompt: Prompt, frame: Frame) -> dict[str, Any]:
    """What is said, in pixels of the picture that is sent."""
    said, size, sent = dict(prompt.said or {}), frame.size, frame.image.shape[:2]
    if "mask" in said and said["mask"].shape != tuple(size):
        sizes = f"the mask is {said['mask'].shape[1]} x {said['mask'].shape[0]}, but frame {frame.index} is {size[1]} x {size[0]} (width x height)."
        raise Failure(f"{prompt.origin}: {sizes} Give it at the size of the video.")
    if tuple(size) == tuple(sent):
        return said
    factors = np.array([sent[1] / size[1], sent[0] / size[0]])
    if "points" in said:
        said["points"] = np.asarray(said["points"], float) * factors
    if "box" in said:
        said["box"] = np.asarray(said["box"], float) * np.tile(factors, 2)
    if "mask" in said:
        said["mask"] = nearest(said["mask"], sent)
    return said


def _plain(said: Mapping[str, Any] | None) -> Any:
    return said and {name: rle.encode(value) if name == "mask" else value for name, value in said.items()}

"""Clips in a folder in the format of DAVIS 2017:

JPEGImages/<resolution>/<sequence>/00000.jpg ...
Annotations/<resolution>/<sequence>/00000.png ...    indexed PNG: 0 is background, 255 void, the others are object ids
ImageSets/2017/<split>.txt                           one sequence per line; without the folder ImageSets all sequences are taken
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from masklet_build.quality.datasets import DatasetError, Frame
from masklet_build.quality.measures import Masks

_VOID = 255  # counted as background, as the official program does for this task (davis2017/davis.py:90, evaluation.py:97)
_IMAGES = (".jpg", ".jpeg")
_FORMAT = "A folder in the format of DAVIS 2017 has JPEGImages/<resolution>, Annotations/<resolution> and ImageSets/2017/<split>.txt."


@dataclass(frozen=True)
class DavisClip:
    """A sequence of a DAVIS folder.

    images       frames in order
    annotations  indexed PNG files by frame; None where there is none
    object_ids   the labels of frame 0
    """

    name: str
    images: tuple[Path, ...]
    annotations: tuple[Path | None, ...]
    object_ids: tuple[int, ...]
    subsets: frozenset[str] = frozenset()

    def __len__(self) -> int:
        return len(self.images)

    def frames(self) -> Iterator[Frame]:
        """See LabelledClip."""
        for path in self.images:
            with Image.open(path) as image:
                yield np.asarray(image.convert("RGB"))

    def truth(self, index: int) -> Masks | None:
        """See LabelledClip."""
        path = self.annotations[index]
        return None if path is None else read_labels(path) == np.array(self.object_ids, np.uint8)[:, None, None]


def read_labels(path: Path) -> NDArray[np.uint8]:
    """The labels (H, W) of an annotation, 0 for background and void. Raises DatasetError for a file that is no indexed or grey PNG."""
    with Image.open(path) as image:
        if image.mode not in ("P", "L"):
            raise DatasetError(f"{path} has mode {image.mode}, so its pixels are no object ids. Annotations are indexed (palette) or grey PNG files.")
        labels = np.array(image, dtype=np.uint8)
    labels[labels == _VOID] = 0
    return labels


class DavisFolder:
    """The sequences of a split.

    limit       how many of them, None: all
    max_frames  of each, from the beginning; None: all
    Raises DatasetError, which names what is missing.
    """

    def __init__(self, root: Path, split: str = "val", resolution: str = "480p", *, limit: int | None = None, max_frames: int | None = None) -> None:
        self._images, self._annotations = root / "JPEGImages" / resolution, root / "Annotations" / resolution
        for folder in (self._images, self._annotations):
            if not folder.is_dir():
                others = sorted(path.name for path in folder.parent.glob("*") if path.is_dir())
                raise DatasetError(f"there is no folder {folder}. " + (f"Resolutions: {', '.join(others)}." if others else _FORMAT))
        self._max_frames = max_frames
        lists = root / "ImageSets"
        self.sequences = (_listed(lists / "2017", split) if lists.is_dir() else self._annotated())[:limit]
        if not self.sequences:
            raise DatasetError(f"{root} has no annotated sequence to score. {_FORMAT}")
        self.lengths = tuple(len(self._frames(name)) for name in self.sequences)
        which = f"split {split}" if lists.is_dir() else "all that are annotated"
        cut = f", the first {max_frames} frames of each" if max_frames else ""
        self.description = f"{root.resolve().name} at {resolution}: {len(self.sequences)} sequences ({which}){cut}"

    def clip(self, index: int) -> DavisClip:
        """See Dataset. Raises DatasetError for a sequence whose objects are not known."""
        name = self.sequences[index]
        images = self._frames(name)
        annotations = tuple(path if path.is_file() else None for path in (self._annotations / name / f"{image.stem}.png" for image in images))
        if annotations[0] is None:
            raise DatasetError(f"{self._annotations / name} has no {images[0].stem}.png: nobody says what to track in {name}.")
        labels = read_labels(annotations[0])
        ids = tuple(int(label) for label in np.unique(labels) if label)
        if not ids:
            raise DatasetError(f"{annotations[0]} shows no object. Take {name} out of the list.")
        with Image.open(images[0]) as image:
            if image.size != labels.shape[::-1]:
                sizes = f"{images[0]} is {_size(image.size)}, but {annotations[0]} is {_size(labels.shape[::-1])}"
                raise DatasetError(f"{sizes}. Take both of one resolution.")
        return DavisClip(name, images, annotations, ids)

    def _annotated(self) -> tuple[str, ...]:
        return tuple(sorted(folder.name for folder in self._images.iterdir() if (self._annotations / folder.name).is_dir()))

    def _frames(self, name: str) -> tuple[Path, ...]:
        folder = self._images / name
        files = sorted(path for path in folder.glob("*") if path.suffix.lower() in _IMAGES)
        if not files:
            raise DatasetError(f"{folder} holds no JPEG files, though {name} belongs to what is to be scored. Is the download complete?")
        return tuple(files[: self._max_frames])


def _size(width_height: tuple[int, ...]) -> str:
    return " x ".join(str(side) for side in width_height)


def _listed(folder: Path, split: str) -> tuple[str, ...]:
    file = folder / f"{split}.txt"
    if not file.is_file():
        raise DatasetError(f"there is no {file}. Splits in this folder: {', '.join(sorted(path.stem for path in folder.glob('*.txt'))) or 'none'}.")
    return tuple(file.read_text().split())

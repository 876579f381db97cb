"""The masks of one answer, in the form in which they came. They are decoded when somebody looks: 32 objects of 1920 x 1080 take 66 MB."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from masklet import rle
from masklet.errors import BadParameter, ServerFault
from masklet.rle import Rle

T = TypeVar("T")
Size = tuple[int, int]  # height, width

_ONES = np.array([bin(byte).count("1") for byte in range(256)], np.uint8)  # set bits of each byte


class Masks:
    """N masks of one frame, as run lengths, bits, or not at all.

    form   "rle", "bitmap" or "none" (see `masklet.wire.Options.masks`)
    parts  one for each object: run lengths, bytes of np.packbits, or nothing
    size   (height, width) of the frame; None: not known

    Raises ValueError for parts of another form or size. Runs that do not make a mask show when they are looked at, as a ServerFault.
    """

    def __init__(self, form: str, parts: Sequence[np.ndarray], size: Size | None) -> None:
        self._form = form
        self._rles = [_run_lengths(part, size) for part in parts] if form == "rle" else []
        self._bits = [_bits(part, size) for part in parts] if form == "bitmap" else []
        if form == "none" and any(len(part) for part in parts):
            raise ValueError("masks were sent that were not asked for")
        self._count = len(parts)
        self.size = (self._rles[0]["size"][0], self._rles[0]["size"][1]) if self._rles else size

    @classmethod
    def of(cls, rles: Sequence[Rle], size: Size) -> Masks:
        """Of run lengths of this size."""
        made = cls("rle", [], size)
        made._rles, made._count = list(rles), len(rles)
        return made

    def joined(self, other: Masks) -> Masks:
        """These and others of the same frame and form."""
        made = Masks(self._form, [], other.size)
        made._rles, made._bits, made._count = self._rles + other._rles, self._bits + other._bits, self._count + other._count
        return made

    @cached_property
    def arrays(self) -> NDArray[np.bool_]:
        """bool (N, H, W); (0, 0, 0) where there is none and the size is not known."""
        self._check()
        made = np.empty((self._count, *(self.size or (0, 0))), dtype=np.bool_)
        for index, target in enumerate(made):
            target[...] = self.one(index)
        return made

    @cached_property
    def rles(self) -> list[Rle]:
        """COCO run lengths of each, `counts` as text."""
        self._check()
        return self._rles if self._form == "rle" else [rle.encode(self.one(index)) for index in range(self._count)]

    @cached_property
    def areas(self) -> NDArray[np.int64]:
        """Pixels of each, int64 (N,)."""
        self._check()
        areas = [_whole(rle.area, one) for one in self._rles] if self._form == "rle" else [int(_ONES[bits].sum()) for bits in self._bits]
        return np.array(areas, np.int64)

    def one(self, index: int) -> NDArray[np.bool_]:
        """One of them, bool (H, W)."""
        self._check()
        if self._form == "rle":
            return _whole(rle.decode, self._rles[index])
        assert self.size is not None
        return np.unpackbits(self._bits[index], count=self.size[0] * self.size[1]).reshape(self.size).view(np.bool_)

    def _check(self) -> None:
        if self._form == "none" and self._count:
            raise BadParameter('this frame was tracked with masks="none", so there are no masks to look at. Ask for "rle" or "bitmap".')


def resized(mask: NDArray[np.bool_], size: Size) -> tuple[Rle, tuple[int, int, int, int]]:
    """A mask (H, W) at another (height, width), and its box x0, y0, x1, y1, ends exclusive: each pixel is that of the mask at its centre."""
    rows, columns = _centres(mask.shape, size)
    rows, columns = rows[(at_rows := _within(rows, mask.any(axis=1)))], columns[(at_columns := _within(columns, mask.any(axis=0)))]
    part = mask[np.ix_(rows, columns)]
    if not part.any():
        return rle.encode(np.zeros((1, 1), np.bool_), size=size), (0, 0, 0, 0)
    top, left = at_rows.start, at_columns.start
    y, x = np.flatnonzero(part.any(axis=1)), np.flatnonzero(part.any(axis=0))
    box = (left + int(x[0]), top + int(y[0]), left + int(x[-1]) + 1, top + int(y[-1]) + 1)
    return rle.encode(part, at=(top, left), size=size), box


def nearest(mask: NDArray[np.bool_], size: tuple[int, ...]) -> NDArray[np.bool_]:
    """A mask (H, W) at another (height, width): each pixel is that of the mask at its centre."""
    return mask[np.ix_(*_centres(mask.shape, size))]


def _centres(size: tuple[int, ...], other: tuple[int, ...]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The rows and the columns of a picture of `size` (height, width) at the centres of the pixels of one of the `other` size that shows the same."""
    rows, columns = (((2 * np.arange(new) + 1) * old) // (2 * new) for new, old in zip(other, size, strict=True))
    return rows, columns


def _within(places: NDArray[np.int64], hit: Any) -> slice:
    """Which of the places, which do not fall, lie between the first and the last one hit; `hit` is bool."""
    found = np.flatnonzero(hit)
    if len(found) == 0:
        return slice(0, 0)
    return slice(int(np.searchsorted(places, found[0], "left")), int(np.searchsorted(places, found[-1], "right")))


def _run_lengths(part: np.ndarray, size: Size | None) -> Rle:
    made: Rle = json.loads(part.tobytes())
    if size is not None and made["size"] != list(size):
        raise ValueError(f"a mask of {made['size']} for a frame of {list(size)} (height, width)")
    return made


def _bits(part: np.ndarray, size: Size | None) -> np.ndarray:
    if size is None or len(part) != -(-size[0] * size[1] // 8):
        raise ValueError(f"a bitmap of {len(part)} bytes for a frame of {size} (height, width)")
    return part


def _whole(read: Callable[[Rle], T], made: Rle) -> T:
    try:
        return read(made)
    except ValueError as error:
        raise ServerFault(f"a mask of the answer cannot be read: {error} Are client and server of the same version?") from error

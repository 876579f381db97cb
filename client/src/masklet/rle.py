"""Masks as run lengths in the format of COCO, as `pycocotools` reads and writes it.

A mask is `{"size": [height, width], "counts": text}`. The runs go down the columns, first column first; the first run is of zeros and may
be empty. From the fourth run on each count is stored as the difference to the one two before, and every number in groups of five bits,
lowest first, one character (code 48 + bits) each: bit 5 says that more groups follow, bit 4 of the last group is the sign
(cocodataset/cocoapi@8c9bcc3, common/maskApi.c:199-230). Annotation files also have the runs as a plain list; that is read, not written.

Everything works on whole arrays. Imported by the server too: only numpy and the standard library here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypedDict

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]

_MAX_GROUPS = 7  # 35 bits: more than any mask that fits into memory


class Rle(TypedDict):
    """A mask as run lengths."""

    size: list[int]  # height, width
    counts: str


def encode(mask: NDArray[np.bool_], *, at: tuple[int, int] = (0, 0), size: tuple[int, int] | None = None) -> Rle:
    """The run lengths of a mask (H, W) of bool, any memory layout.

    at, size    the mask is a part of a mask of `size` (height, width) that is empty elsewhere: the part's first row and column. Takes time by the
                size of the part
    Raises ValueError for another shape or dtype, or a part that does not lie inside.
    """
    if mask.ndim != 2 or mask.dtype != np.bool_ or mask.size == 0:
        raise ValueError(f"a mask must be a bool array (H, W) with pixels, got {mask.dtype} {mask.shape}.")
    (top, left), (height, width) = at, size or mask.shape
    if not (0 <= top <= height - mask.shape[0] and 0 <= left <= width - mask.shape[1]):
        raise ValueError(f"a mask {mask.shape} at {at} does not lie inside {height} x {width} (height x width).")
    return {"size": [int(height), int(width)], "counts": _to_text(_runs(mask, top, left, height, width))}


def decode(rle: Mapping[str, object], size: tuple[int, int] | None = None) -> NDArray[np.bool_]:
    """The mask (H, W) of bool, C-contiguous. Takes time by the pixels of the columns that hold the object, and by the length of the counts.

    `size`: the only (height, width) to accept; checked before memory is taken, so pass it for input of strangers.
    Raises ValueError that says what is wrong.
    """
    height, width, counts = _parse(rle)
    if size is not None and (height, width) != tuple(size):
        raise ValueError(f"the mask is {height} x {width} (height x width), but {size[0]} x {size[1]} is needed.")
    mask = np.zeros((height, width), dtype=np.bool_)
    ends = np.cumsum(counts)
    if len(counts) < 2 or ends[0] == ends[-1]:
        return mask
    # Only the columns that hold the object are expanded: turning columns into rows is what costs time.
    first, last = ends[0] // height, -(-ends[2 * (len(ends) // 2) - 1] // height)
    edges = np.clip(ends, first * height, last * height) - first * height
    columns = np.repeat(np.arange(len(counts)) % 2 == 1, np.diff(edges, prepend=0))
    columns = np.concatenate([columns, np.zeros((last - first) * height - len(columns), dtype=np.bool_)])
    mask[:, first:last] = columns.reshape(last - first, height).T
    return mask


def area(rle: Mapping[str, object]) -> int:
    """How many pixels are set. Raises ValueError as `decode` does."""
    return int(_parse(rle)[2][1::2].sum())


def _runs(part: NDArray[np.bool_], top: int, left: int, height: int, width: int) -> Ints:
    """Lengths of the runs down the columns, beginning with zeros, of a mask that has `part` at row `top` and column `left`."""
    below = top + len(part) < height
    if top or below:  # the row above and the row below the part, as far as there are any
        part = np.pad(part, ((int(top > 0), int(below)), (0, 0)))
    first = left * height + max(top - 1, 0)
    # Where a pixel differs from the one above it; at the top of a column from the bottom of the column before.
    row, column = np.divmod(np.flatnonzero(part[1:] != part[:-1]), part.shape[1])
    tops = np.flatnonzero(part[0, 1:] != part[-1, :-1]) + 1
    changes = np.concatenate([first + column * height + row + 1, (left + tops) * height])
    starts = [0, left * height] if part[0, 0] else [0]  # a mask that begins with ones has an empty first run
    end = (left + part.shape[1]) * height
    ends = [end, height * width] if part[-1, -1] and end < height * width else [height * width]
    return np.diff(np.concatenate([starts, np.sort(changes), ends])).astype(np.int64)


def _to_text(counts: Ints) -> str:
    numbers = counts.copy()
    numbers[3:] -= counts[1:-2]
    groups = numbers[:, None] >> (5 * np.arange(_MAX_GROUPS)) & 31
    # A number ends where all that is left repeats the sign: the rest is 0 with bit 4 clear, or -1 with bit 4 set.
    left = numbers[:, None] >> (5 * np.arange(_MAX_GROUPS) + 4)
    more = (left != 0) & (left != -1)
    used = np.ones_like(more)
    used[:, 1:] = more[:, :-1]
    return bytes((groups + 32 * more + 48)[used].astype(np.uint8)).decode("ascii")


def _parse(rle: Mapping[str, object]) -> tuple[int, int, Ints]:
    """Height, width and counts, checked."""
    if not isinstance(rle, Mapping) or set(rle) != {"size", "counts"}:
        raise ValueError('a mask must be an object with the keys "size" and "counts" (COCO RLE).')
    size = rle["size"]
    if not isinstance(size, list | tuple) or len(size) != 2 or not all(type(side) is int and 1 <= side < 2**16 for side in size):
        raise ValueError(f"size of a mask must be [height, width], integers from 1 to 65535, got {str(size)[:80]}.")
    counts = _from_list(rle["counts"]) if isinstance(rle["counts"], list) else _from_text(rle["counts"])
    if np.any(counts < 0):
        raise ValueError("the counts of a mask hold a negative run.")
    # Floats cannot overflow, and are exact far beyond any size.
    if counts.sum(dtype=np.float64) != size[0] * size[1]:
        raise ValueError(
            f"the counts of a mask make {counts.sum(dtype=np.float64):.0f} pixels, but its size {size[0]} x {size[1]} has {size[0] * size[1]}."
        )
    return size[0], size[1], counts


def _from_list(counts: list[object]) -> Ints:
    if not all(type(count) is int and 0 <= count < 2**32 for count in counts):
        raise ValueError("a run of a mask must be an integer, at least 0 and not beyond any mask.")
    return np.array(counts, dtype=np.int64)


def _from_text(text: object) -> Ints:
    if not isinstance(text, str | bytes):
        raise ValueError(f"the counts of a mask must be text (compressed COCO RLE) or a list, got {type(text).__name__}.")
    raw = text.encode("utf-8", "replace") if isinstance(text, str) else text
    codes = np.frombuffer(raw, dtype=np.uint8).astype(np.int64) - 48
    if len(codes) == 0 or np.any((codes < 0) | (codes > 63)) or codes[-1] & 32:
        raise ValueError("the counts of a mask are damaged: no valid compressed COCO RLE.")
    ends = np.flatnonzero(codes & 32 == 0)
    starts = np.concatenate([[0], ends[:-1] + 1])
    if np.any(ends - starts >= _MAX_GROUPS):
        raise ValueError("the counts of a mask hold a number that is too large.")
    place = np.arange(len(codes)) - np.repeat(starts, ends - starts + 1)
    numbers = np.add.reduceat((codes & 31) << (5 * place), starts)
    negative = codes[ends] & 16 != 0
    numbers[negative] -= np.int64(1) << (5 * (place[ends][negative] + 1))
    numbers[1::2] = np.cumsum(numbers[1::2])
    numbers[2::2] = np.cumsum(numbers[2::2])
    return numbers

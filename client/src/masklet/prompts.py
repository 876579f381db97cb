"""Prompts as users give them -> items of the PROMPTS list on the wire.

Only what is obviously wrong is refused here; the server checks the rest (frame borders, limits).
"""

from __future__ import annotations

import operator
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from masklet import rle
from masklet.errors import BadPrompt

Item = dict[str, Any]


def item(
    object_id: int,
    *,
    points: ArrayLike | None = None,
    labels: ArrayLike | None = None,
    box: ArrayLike | None = None,
    mask: ArrayLike | None = None,
    append: bool = False,
    clear: bool = False,
) -> Item:
    """One prompt, as `Video.prompt` documents it, ready for JSON. Raises BadPrompt."""
    _check_combination(points, labels, box, mask, append, clear)
    made: Item = {"object": identifier(object_id)}
    if points is not None:
        made["points"] = _points(points)
        made["labels"] = _labels(labels, len(made["points"]))
    if box is not None:
        made["box"] = _box(box)
    if mask is not None:
        made["mask"] = _mask(mask)
    return made | {name: True for name, value in (("append", append), ("clear", clear)) if value}


def joined(earlier: Item | None, later: Item) -> Item:
    """What two prompts of one object for one frame mean together: the later one replaces the earlier, or adds its points. Raises BadPrompt."""
    if earlier is None or "clear" in later:
        return later
    clear = {"clear": True} if "clear" in earlier else {}
    if "append" not in later:
        return later | clear
    if "mask" in earlier:
        raise BadPrompt("points cannot be appended to a mask prompt of the same frame. Send them with a later frame, or with refine=True.")
    points = {name: [*earlier.get(name, ()), *later[name]] for name in ("points", "labels")}
    return earlier | points


def removal(object_id: int) -> Item:
    """The item that makes the server forget an object."""
    return {"object": identifier(object_id), "remove": True}


def visible(items: Iterable[Item]) -> frozenset[int]:
    """The objects that these prompts say are in the frame: all but a mask without a pixel, and what only clears or removes."""
    return frozenset(item["object"] for item in items if "points" in item or "box" in item or ("mask" in item and rle.area(item["mask"])))


def identifier(object_id: int) -> int:
    """The object id as a plain int. Raises BadPrompt."""
    try:
        number = operator.index(object_id)
    except TypeError:
        number = None
    if number is None or isinstance(object_id, bool) or not 0 <= number < 2**63:
        raise BadPrompt(f"an object id must be an integer from 0 to 2**63 - 1, got {object_id!r}.")
    return number


def _check_combination(points: object, labels: object, box: object, mask: object, append: bool, clear: bool) -> None:
    if labels is not None and points is None:
        raise BadPrompt("labels without points: give one label per point.")
    if points is None and box is None and mask is None and not clear:
        raise BadPrompt("a prompt needs points, a box or a mask (or clear=True to forget the ones of this frame).")
    if mask is not None and (points is not None or box is not None or append):
        raise BadPrompt("a mask prompt stands alone: send points and boxes with another call, on another frame or with refine=True.")
    if append and points is None:
        raise BadPrompt("append adds points to earlier ones: give points.")
    if box is not None and append:
        raise BadPrompt("a box cannot be appended to other prompts: send it with append=False, its points in the same call.")


def _numbers(values: ArrayLike, what: str) -> np.ndarray:
    try:
        array = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise BadPrompt(f"{what} must be numbers, got {values!r}.") from error
    if not np.isfinite(array).all():
        raise BadPrompt(f"{what} must be finite numbers, got {values!r}.")
    return array


def _points(points: ArrayLike) -> list[list[float]]:
    array = _numbers(points, "points")
    if array.ndim != 2 or array.shape[1] != 2 or len(array) == 0:
        raise BadPrompt(f"points must have the shape (N, 2), x and y in pixels of the frame, got {array.shape}.")
    return array.tolist()  # type: ignore[no-any-return]


def _labels(labels: ArrayLike | None, count: int) -> list[int]:
    if labels is None:
        return [1] * count
    array = _numbers(labels, "labels")
    if array.shape != (count,):
        raise BadPrompt(f"labels must be one number per point: {count} points, but labels of shape {array.shape}.")
    if not np.isin(array, (0, 1)).all():
        raise BadPrompt(f"labels must be 1 (on the object) or 0 (beside it), got {labels!r}.")
    return array.astype(int).tolist()  # type: ignore[no-any-return]


def _box(box: ArrayLike) -> list[float]:
    array = _numbers(box, "a box")
    if array.shape != (4,):
        raise BadPrompt(f"a box must be x0, y0, x1, y1 in pixels of the frame, got the shape {array.shape}.")
    return array.tolist()  # type: ignore[no-any-return]


def _mask(mask: ArrayLike) -> rle.Rle:
    array = np.asarray(mask)
    if array.ndim != 2 or array.size == 0 or array.dtype.kind not in "bui":
        raise BadPrompt(f"a mask must be a bool or integer array (height, width), got {array.dtype} {array.shape}.")
    return rle.encode(array != 0)

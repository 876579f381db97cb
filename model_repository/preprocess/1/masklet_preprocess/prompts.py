"""The JSON of PROMPTS, checked: what a client may ask of one object on one frame."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from reprlib import repr as short  # of any value of a stranger, never long

from masklet.errors import BadPrompt, RequestError, TooManyPoints
from masklet.wire import PromptFlag
from masklet_preprocess.limits import Limits

Size = tuple[int, int]
Point = tuple[float, float]

_KEYS = ("object", "points", "labels", "box", "mask", "append", "clear", "remove")
_MAX_ID = 2**63 - 1


@dataclass(frozen=True)
class Prompt:
    """One valid prompt.

    points   pixels of the frame, x and y; the two corners of a box come first
    labels   one per point: 1 on the object, 0 beside it, 2 and 3 top left and bottom right corner of the box
    mask     COCO run lengths; their size is that of the frame, their counts are not checked yet
    """

    object_id: int
    flags: PromptFlag
    points: tuple[Point, ...] = ()
    labels: tuple[int, ...] = ()
    mask: Mapping[str, object] | None = None


def parse(data: bytes, size: Size | None, limits: Limits) -> list[Prompt]:
    """Reads PROMPTS. `size`: (height, width) of the frame; None where the request has none, then prompts may only remove objects.

    Raises BadPrompt or TooManyPoints that names the prompt, what is wrong with it, and what is allowed.
    """
    items = _json_list(data, limits)
    prompts: list[Prompt] = []
    for index, item in enumerate(items):
        try:
            prompt = _prompt(item, size, limits)
            if any(prompt.object_id == other.object_id for other in prompts):
                raise BadPrompt(f"object {prompt.object_id} has a prompt already. Put all of an object's points into one prompt.")
        except RequestError as error:
            raise type(error)(f"prompt {index}: {error}") from None
        prompts.append(prompt)
    return prompts


def _json_list(data: bytes, limits: Limits) -> list[object]:
    if len(data) > limits.max_prompt_bytes:
        raise BadPrompt(f"PROMPTS has {len(data)} bytes; the server takes {limits.max_prompt_bytes}. Give masks with fewer objects at a time.")
    try:
        items = json.loads(data.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise BadPrompt(f"PROMPTS is no JSON: {error}. Send a list, [] for no prompt.") from None
    if not isinstance(items, list):
        raise BadPrompt(f"PROMPTS is {short(items)}. Send a list of prompts, [] for none.")
    if len(items) > limits.max_prompts:
        raise BadPrompt(f"{len(items)} prompts in one request; the server takes {limits.max_prompts}. Spread them over several requests.")
    return items


def _prompt(item: object, size: Size | None, limits: Limits) -> Prompt:
    if not isinstance(item, dict):
        raise BadPrompt(f"{short(item)} is no JSON object. Known keys: {', '.join(_KEYS)}.")
    unknown = [key for key in item if key not in _KEYS]
    if unknown:
        raise BadPrompt(f"unknown key {short(unknown[0])}. Known: {', '.join(_KEYS)}.")
    object_id, flags = _object_id(item), _flags(item)
    _check_combination(item, flags, size)
    if size is None or PromptFlag.REMOVE in flags:
        return Prompt(object_id, flags)
    if "mask" in item:
        _check_mask_size(item["mask"], size)
        return Prompt(object_id, flags, mask=item["mask"])
    corners = _box(item["box"], size) if "box" in item else ()
    points, labels = _clicks(item, size, limits.max_points - len(corners))
    return Prompt(object_id, flags, (*corners, *points), (*((2, 3) if corners else ()), *labels))


def _object_id(item: Mapping[str, object]) -> int:
    if "object" not in item:
        raise BadPrompt('"object" is missing. Say which object the prompt is for: an integer of at least 0.')
    object_id = item["object"]
    if type(object_id) is not int or not 0 <= object_id <= _MAX_ID:
        raise BadPrompt(f'"object" is {short(object_id)}. It must be an integer from 0 to 2^63 - 1.')
    return object_id


def _flags(item: Mapping[str, object]) -> PromptFlag:
    flags = PromptFlag(0)
    for key, flag in (("append", PromptFlag.APPEND), ("clear", PromptFlag.CLEAR), ("remove", PromptFlag.REMOVE)):
        value = item.get(key, False)
        if not isinstance(value, bool):
            raise BadPrompt(f'"{key}" is {short(value)}. It must be true or false.')
        flags |= flag if value else PromptFlag(0)
    flags |= PromptFlag.BOX if "box" in item else PromptFlag(0)
    return flags | (PromptFlag.MASK if "mask" in item else PromptFlag(0))


def _check_combination(item: Mapping[str, object], flags: PromptFlag, size: Size | None) -> None:
    """Whether the parts of a prompt go together, and with the request."""
    given = [key for key in ("points", "labels", "box", "mask") if key in item]
    if PromptFlag.REMOVE in flags:
        if given or flags != PromptFlag.REMOVE:
            raise BadPrompt('"remove" stands alone. To begin an object anew, use "clear" with its new points.')
    elif size is None:
        raise BadPrompt("this request has no frame, so it may only remove objects. Send the prompt with its frame.")
    elif ("points" in item) != ("labels" in item):
        raise BadPrompt('"points" and "labels" go together: one label (1 on the object, 0 beside it) per point.')
    elif "mask" in item and len(given) > 1:
        raise BadPrompt('"mask" does not go with "points" or "box". Send one of them.')
    elif PromptFlag.APPEND in flags and ("points" not in item or "box" in item):
        raise BadPrompt('"append" adds points to earlier ones: it needs "points" and does not go with "box" or "mask".')
    elif not given and PromptFlag.CLEAR not in flags:
        raise BadPrompt('it asks for nothing. Give "points" with "labels", a "box", a "mask", "clear" or "remove".')


def _clicks(item: Mapping[str, object], size: Size, limit: int) -> tuple[tuple[Point, ...], tuple[int, ...]]:
    if "points" not in item:
        return (), ()
    points, labels = item["points"], item["labels"]
    if not isinstance(points, list) or not isinstance(labels, list) or not points:
        raise BadPrompt('"points" must be a list of [x, y] with at least one point, and "labels" a list of 0 and 1.')
    if len(points) != len(labels):
        raise BadPrompt(f"{len(points)} points but {len(labels)} labels. Give one label per point.")
    if len(points) > limit:
        raise TooManyPoints(f'{len(points)} points; the server takes {limit} here. Fewer points, or a "mask", say as much.')
    for label in labels:
        if type(label) is not int or label not in (0, 1):
            raise BadPrompt(f"label {short(label)}. A label is 1 (on the object) or 0 (beside it).")
    return tuple(_point(point, size) for point in points), tuple(labels)


def _point(point: object, size: Size) -> Point:
    if not isinstance(point, list) or len(point) != 2:
        raise BadPrompt(f"point {short(point)}. A point is [x, y], in pixels of the frame.")
    return _coordinate(point[0], "x", size[1]), _coordinate(point[1], "y", size[0])


def _coordinate(value: object, axis: str, side: int) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= side:  # NaN is not in any range
        raise BadPrompt(f"{axis} is {short(value)}. In this frame {axis} is a number from 0 to {side} (pixels).")
    return float(value)


def _box(box: object, size: Size) -> tuple[Point, Point]:
    if not isinstance(box, list) or len(box) != 4:
        raise BadPrompt(f'"box" is {short(box)}. A box is [x0, y0, x1, y1], in pixels of the frame.')
    (x0, y0), (x1, y1) = _point(box[:2], size), _point(box[2:], size)
    if not (x0 < x1 and y0 < y1):
        raise BadPrompt(f'"box" {short(box)} has no area: a box is [x0, y0, x1, y1] with x0 < x1 and y0 < y1.')
    return (x0, y0), (x1, y1)


def _check_mask_size(mask: object, size: Size) -> None:
    if not isinstance(mask, dict) or set(mask) != {"size", "counts"}:
        raise BadPrompt('"mask" must be COCO run lengths: {"size": [height, width], "counts": ...}.')
    if mask["size"] != list(size):
        raise BadPrompt(f'"mask" has size {short(mask["size"])}, but the frame is {list(size)} (height, width). Resize the mask.')

"""The JSON of PROMPTS, checked: what a client may ask of one object on one frame.

Points and boxes may lie outside the frame, up to its own width and height on each side, and are kept as they are: the official code scales them
and neither checks nor clips. A box may be given by any two opposite corners, and may be without area.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from reprlib import repr as short  # of any value of a stranger, never long
from typing import Any, NamedTuple, TypeGuard

import numpy as np

from masklet.envelope import Prompt
from masklet.errors import BadPrompt, RequestError, TooManyPoints
from masklet_preprocess.limits import Limits

Size = tuple[int, int]
Point = tuple[float, float]

_KEYS = ("object", "points", "labels", "box", "mask", "append", "clear", "remove")
_MAX_ID = 2**63 - 1


class Parsed(NamedTuple):
    """What a request asks of its objects.

    prompts  as the envelope carries them, points in pixels of the model image
    masks    COCO run lengths of the mask prompts by object; their size is that of the frame, their counts are not checked yet
    """

    prompts: tuple[Prompt, ...]
    masks: dict[int, Mapping[str, object]]


def parse(data: bytes, size: Size | None, limits: Limits, image_size: int) -> Parsed:
    """Reads PROMPTS. `size`: (height, width) of the frame; None where the request has none, then prompts may only remove objects.

    Raises BadPrompt or TooManyPoints that names the prompt, what is wrong with it, and what is allowed.
    """
    prompts: dict[int, Prompt] = {}
    masks: dict[int, Mapping[str, object]] = {}
    for index, item in enumerate(_json_list(data, limits)):
        try:
            checked = _checked(item)
            prompt = _prompt(checked, size, limits, image_size)
            if prompt.object_id in prompts:
                raise BadPrompt("it has a prompt already. Put all of an object's points into one prompt.")
        except RequestError as error:
            raise type(error)(f"{_name(index, item)}: {error}") from None
        prompts[prompt.object_id] = prompt
        if prompt.mask:
            masks[prompt.object_id] = checked["mask"]
    _check_mask_pixels(len(masks), size, limits)
    return Parsed(tuple(prompts.values()), masks)


def scale_points(points: np.ndarray, size: Size, image_size: int) -> np.ndarray:
    """Points (n, 2) float32 from pixels of the frame to pixels of the model image.

    In float32 and in the official order, p / (W, H) * S (EfficientTAM efficienttam_video_predictor.py:224-229).
    """
    height, width = size
    return points / np.array([width, height], dtype=np.float32) * np.float32(image_size)


def _name(index: int, item: object) -> str:
    """What a user knows a prompt by: its object, where that can be read."""
    object_id = item.get("object") if isinstance(item, dict) else None
    return f"object {object_id} (prompt {index})" if _is_id(object_id) else f"prompt {index}"


def _check_mask_pixels(masks: int, size: Size | None, limits: Limits) -> None:
    pixels = masks * size[0] * size[1] if size else 0
    if pixels > limits.max_mask_pixels:
        raise BadPrompt(
            f"mask prompts of {pixels} pixels ({masks} x {size[0]} x {size[1]}) in one request; the server takes {limits.max_mask_pixels}. "
            "Spread them over several requests, or send the frame smaller."
        )


def _json_list(data: bytes, limits: Limits) -> list[object]:
    if len(data) > limits.max_prompt_bytes:
        raise BadPrompt(f"PROMPTS has {len(data)} bytes; the server takes {limits.max_prompt_bytes}. Give masks with fewer objects at a time.")
    try:
        items = json.loads(data.decode("utf-8"), object_pairs_hook=_unique)
    except (ValueError, RecursionError) as error:
        raise BadPrompt(f"PROMPTS is no JSON: {error}. Send a list, [] for no prompt.") from None
    if not isinstance(items, list):
        raise BadPrompt(f"PROMPTS is {short(items)}. Send a list of prompts, [] for none.")
    if len(items) > limits.max_prompts:
        raise BadPrompt(f"{len(items)} prompts in one request; the server takes {limits.max_prompts}. Spread them over several requests.")
    return items


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """A JSON object. Readers differ in which of two equal keys they take, so there must not be any."""
    item = dict(pairs)
    if len(item) < len(pairs):
        raise BadPrompt(f"PROMPTS has an object with a key twice: {short([key for key, _ in pairs])}. Give each key once.")
    return item


def _checked(item: object) -> dict[str, Any]:
    if not isinstance(item, dict):
        raise BadPrompt(f"{short(item)} is no JSON object. Known keys: {', '.join(_KEYS)}.")
    unknown = [key for key in item if key not in _KEYS]
    if unknown:
        raise BadPrompt(f"unknown key {short(unknown[0])}. Known: {', '.join(_KEYS)}.")
    return item


def _prompt(item: Mapping[str, Any], size: Size | None, limits: Limits, image_size: int) -> Prompt:
    object_id, flags = _object_id(item), {name: _flag(item, name) for name in ("append", "clear", "remove")}
    _check_combination(item, flags, size)
    if size is None or flags["remove"]:
        return Prompt(object_id, **flags)
    if "mask" in item:
        _check_mask_size(item["mask"], size)
        return Prompt(object_id, mask=True, **flags)
    corners = _box(item["box"], size) if "box" in item else ()
    points, labels = _clicks(item, size, limits.max_points - len(corners))
    scaled = scale_points(np.array([*corners, *points], np.float32).reshape(-1, 2), size, image_size)
    return Prompt(object_id, tuple((x, y) for x, y in scaled.tolist()), (*((2, 3) if corners else ()), *labels), **flags)


def _object_id(item: Mapping[str, object]) -> int:
    if "object" not in item:
        raise BadPrompt('"object" is missing. Say which object the prompt is for: an integer of at least 0.')
    object_id = item["object"]
    if not _is_id(object_id):
        raise BadPrompt(f'"object" is {short(object_id)}. It must be an integer from 0 to 2^63 - 1.')
    return object_id


def _is_id(value: object) -> TypeGuard[int]:
    return type(value) is int and 0 <= value <= _MAX_ID


def _flag(item: Mapping[str, object], name: str) -> bool:
    value = item.get(name, False)
    if not isinstance(value, bool):
        raise BadPrompt(f'"{name}" is {short(value)}. It must be true or false.')
    return value


def _check_combination(item: Mapping[str, object], flags: Mapping[str, bool], size: Size | None) -> None:
    """Whether the parts of a prompt go together, and with the request."""
    given = [key for key in ("points", "labels", "box", "mask") if key in item]
    if flags["remove"]:
        if given or flags["append"] or flags["clear"]:
            raise BadPrompt('"remove" stands alone. To begin an object anew, use "clear" with its new points.')
    elif size is None:
        raise BadPrompt("this request has no frame, so it may only remove objects. Send the prompt with its frame.")
    elif ("points" in item) != ("labels" in item):
        raise BadPrompt('"points" and "labels" go together: one label (1 on the object, 0 beside it) per point.')
    elif "mask" in item and len(given) > 1:
        raise BadPrompt('"mask" does not go with "points" or "box". Send one of them.')
    elif flags["append"] and ("points" not in item or "box" in item):
        raise BadPrompt('"append" adds points to earlier ones: it needs "points" and does not go with "box" or "mask".')
    elif not given and not flags["clear"]:
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
    if isinstance(value, bool) or not isinstance(value, int | float) or not -side <= value <= 2 * side:  # NaN is not in any range
        raise BadPrompt(f"{axis} is {short(value)}. The frame has {axis} from 0 to {side} (pixels); the server takes {-side} to {2 * side}.")
    return float(value)


def _box(box: object, size: Size) -> tuple[Point, Point]:
    """Its top left and its bottom right corner."""
    if not isinstance(box, list) or len(box) != 4:
        raise BadPrompt(f'"box" is {short(box)}. A box is [x0, y0, x1, y1], in pixels of the frame.')
    (x0, y0), (x1, y1) = _point(box[:2], size), _point(box[2:], size)
    return (min(x0, x1), min(y0, y1)), (max(x0, x1), max(y0, y1))


def _check_mask_size(mask: object, size: Size) -> None:
    if not isinstance(mask, dict) or set(mask) != {"size", "counts"}:
        raise BadPrompt('"mask" must be COCO run lengths: {"size": [height, width], "counts": ...}.')
    if mask["size"] != list(size):
        raise BadPrompt(f'"mask" has size {short(mask["size"])}, but the frame is {list(size)} (height, width). Resize the mask.')

"""What callers ask, before it is known which server gets it: orders. A session makes requests of them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from masklet import prompts
from masklet.errors import BadRequest
from masklet.inputs import Frame, bytes_tensor, frame_tensors
from masklet.wire import Options


@dataclass(frozen=True, eq=False)
class Order:
    """One thing asked of a server.

    waits_for  for people: "frame 3"
    options    without `owner`, which is the session's
    items      the PROMPTS list
    tensors    inputs of `tracker` besides PROMPTS, with batch dimension
    size       (height, width) of the frame, where it is known
    """

    waits_for: str
    options: Options
    items: Sequence[prompts.Item] = ()
    tensors: Mapping[str, np.ndarray] = field(default_factory=dict)
    size: tuple[int, int] | None = None

    @property
    def is_frame(self) -> bool:
        """Whether it carries a frame."""
        return not {"FRAME", "FRAME_ENCODED"}.isdisjoint(self.tensors)


class Orders:
    """Makes the orders of one video: keeps its prompts until their frame comes, and counts frames."""

    def __init__(self) -> None:
        self._prompts: dict[int, prompts.Item] = {}  # by object: the server takes one of each per frame
        self._frames = 0

    def prompt(self, object_id: int, **prompt: Any) -> None:
        """Keeps a prompt for the next frame. Raises BadPrompt."""
        item = prompts.item(object_id, **prompt)
        self._prompts[item["object"]] = prompts.joined(self._prompts.get(item["object"]), item)

    def drop(self, object_id: int) -> bool:
        """Drops the kept prompts of an object. True if there were some."""
        return self._prompts.pop(prompts.identifier(object_id), None) is not None

    def frame(self, frame: Frame, **options: Any) -> Order:
        """A frame, with the prompts kept so far. Raises BadFrame and BadParameter, and then keeps the prompts."""
        tensors, size = frame_tensors(frame)
        parsed = Options.parse({**_plain(options), "masks": "bitmap" if size else "rle"})
        items, self._prompts = list(self._prompts.values()), {}
        waits_for = "the first frame" if self._frames == 0 else f"frame {self._frames}"
        self._frames += 1
        return Order(waits_for, parsed, items, tensors, size)


def restoring(state: bytes) -> Order:
    """The order that begins a video from a snapshot. Raises BadRequest."""
    if not isinstance(state, bytes | bytearray | memoryview) or len(state) == 0:
        raise BadRequest("state must be the bytes of a snapshot, as Video.snapshot() gives them.")
    return Order("the restored video", Options(masks="none"), tensors={"STATE": np.frombuffer(state, dtype=np.uint8)[None]})


def removal(object_id: int) -> Order:
    """The order that forgets an object. Raises BadPrompt."""
    return Order(f"the removal of object {object_id}", Options(masks="none"), [prompts.removal(object_id)])


def snapshot() -> Order:
    """The order for a snapshot."""
    return Order("the snapshot", Options(masks="none", snapshot=True))


def end() -> Order:
    """The order that frees the video."""
    return Order("END", Options(masks="none"))


def prompts_tensor(order: Order) -> np.ndarray:
    """The tensor PROMPTS of an order."""
    text = json.dumps(list(order.items), separators=(",", ":"), allow_nan=False).encode()
    return bytes_tensor(text)


def _plain(options: dict[str, Any]) -> dict[str, Any]:
    """The options that were given, numpy numbers as plain ones."""
    return {name: value.item() if isinstance(value, np.generic) else value for name, value in options.items() if value is not None}

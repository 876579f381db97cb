"""What callers ask, before it is known which server gets it: operations. A session makes requests of them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from masklet import prompts
from masklet.connection import parts
from masklet.errors import (
    BadParameter,
    BadPrompt,
    BadRequest,
    MaskletError,
    RequestError,
    ServerBusy,
    ServerFault,
    TooManyObjects,
    TooManyPoints,
    from_masklet,
)
from masklet.inputs import bytes_tensor, frame_tensors
from masklet.pixels import Sendable
from masklet.transport.protocol import nbytes_of
from masklet.wire import Options

_LET_GO = np.empty(0)  # in the place of pixels
_NAMED = re.compile(r"^object (\d+)\b")  # how the server begins what it says against one prompt
_PROMPTS_FAULT = (BadPrompt, TooManyPoints, TooManyObjects, ServerFault)  # what a prompt may have brought about


@dataclass(frozen=True, eq=False)
class Operation:
    """One thing asked of a server.

    waits_for  for people: "frame 3"
    options    without `owner`, which is the session's
    items      the PROMPTS list
    tensors    inputs of `tracker` besides PROMPTS, with batch dimension
    size       (height, width) of the frame, where it is known
    again      objects whose prompts were refused before, perhaps by their own fault
    more       the frame has more prompts, which are kept: it is to be sent again with the rest of them
    """

    waits_for: str
    options: Options
    items: Sequence[prompts.Item] = ()
    tensors: Mapping[str, np.ndarray] = field(default_factory=dict)
    size: tuple[int, int] | None = None
    again: frozenset[int] = frozenset()
    more: bool = False

    @property
    def is_frame(self) -> bool:
        """Whether it carries a frame."""
        return not {"FRAME", "FRAME_ENCODED"}.isdisjoint(self.tensors)

    @property
    def nbytes(self) -> int:
        """Size of the tensors."""
        return nbytes_of(self.tensors)

    def without_tensors(self) -> Operation:
        """All that is small of it."""
        return replace(self, tensors=dict.fromkeys(self.tensors, _LET_GO))


class Operations:
    """Makes the operations of one video: keeps its prompts until their frame comes, and counts frames. Not for two threads at once."""

    def __init__(self) -> None:
        self._prompts: dict[int, prompts.Item] = {}  # by object: the server takes one of each per frame
        self._returned: dict[int, prompts.Item] = {}  # of refused frames; they are older
        self._again: frozenset[int] = frozenset()
        self._rest: dict[int, prompts.Item] = {}  # of a frame whose first prompts were sent; older than the others
        self._rest_again: frozenset[int] = frozenset()
        self._frames = 0

    def prompt(self, object_id: int, **prompt: Any) -> None:
        """Keeps a prompt for the next frame. Raises BadPrompt."""
        item = prompts.item(object_id, **prompt)
        self._prompts[item["object"]] = prompts.joined(self._prompts.get(item["object"]), item)

    def keep(self, items: Iterable[prompts.Item]) -> None:
        """Keeps prompts for the next frame, one of an object, in the place of all others."""
        self._prompts = {item["object"]: item for item in items}

    def drop(self, object_id: int) -> bool:
        """Drops the kept prompts of an object. True if there were some."""
        number = prompts.identifier(object_id)
        dropped = [kept.pop(number, None) for kept in (self._prompts, self._returned, self._rest)]
        return dropped != [None] * 3

    def frame(self, frame: Sendable, *, rest: bool = False, **options: Any) -> Operation:
        """A frame, with the prompts kept so far, as many as one request takes; `rest`: again, with more of those that it had.

        Raises BadFrame and BadParameter, and then keeps the prompts.
        """
        tensors, size = frame_tensors(frame)
        parsed = Options.parse({"masks": "bitmap" if size else "rle", **_plain(options)})
        if parsed.masks == "bitmap" and size is None:
            raise BadParameter('masks="bitmap" needs the size of the frame, and that of an encoded one is not known here. Ask for "rle".')
        if parsed.masks == "png":
            raise BadParameter('masks="png" is for clients in other languages. Ask for "rle", "bitmap" or "none".')
        older, again, self._rest, self._rest_again = self._rest, self._rest_again, {}, frozenset()
        newer: dict[int, prompts.Item] = {}
        if not rest:
            newer, self._prompts = self._prompts, {}
            older, again, self._returned, self._again = _merged(self._returned, older), self._again | again, {}, frozenset()
        waits_for = "the first frame" if self._frames == 0 else f"frame {self._frames}"
        made = Operation(waits_for, parsed, list(_merged(older, newer).values()), tensors, size, again - set(newer))
        return self._first_part(made)

    def _first_part(self, whole: Operation) -> Operation:
        """As much of the operation of a frame as one request takes. The rest of its prompts is kept."""
        items, rest = parts.split(whole.items) if whole.items else ([], [])
        if not rest:
            self._frames += 1
            return whole
        if whole.options.overlap == "exclusive" and not whole.options.track:
            self._prompts = {item["object"]: item for item in whole.items}
            raise BadParameter(
                f'overlap="exclusive" needs all masks in one answer, and with track=False {len(whole.items)} prompts go in several requests. '
                f"Give {len(items)} at a time, or leave overlap out here."
            )
        self._rest = {item["object"]: item for item in rest}
        self._rest_again = whole.again & set(self._rest)
        options = replace(whole.options, snapshot=False, track=whole.options.track and whole.options.refine)
        if whole.options.track:  # the last part answers for all of them
            options = replace(options, masks="none", logits=False)
        return replace(whole, options=options, items=items, again=whole.again - set(self._rest), more=True)

    def with_returned(self, operation: Operation) -> Operation:
        """The operation of a frame, with the prompts of refused frames as far as it has no newer ones. Other operations as they are, and where that
        would be more than one request takes."""
        if not operation.is_frame or not self._returned or operation.more:
            return operation
        own = {item["object"]: item for item in operation.items}
        items = list(_merged(self._returned, own).values())
        if not parts.fits(items):
            return operation
        again, self._again, self._returned = self._again, frozenset(), {}
        return replace(operation, items=items, again=again - set(own))

    def take_back(self, operation: Operation, error: MaskletError, *, runs: bool) -> MaskletError:
        """Keeps the prompts of a refused frame for the next one; which ones, `Video` says. `runs`: the server has the video.

        Gives the error, which then says what became of the prompts.
        """
        if not operation.is_frame or not operation.items:
            return error
        named = _NAMED.match(str(error)) if isinstance(error, BadPrompt | TooManyPoints) else None
        suspected = named is None and isinstance(error, (*_PROMPTS_FAULT, ServerBusy) if runs else _PROMPTS_FAULT)
        gone = {int(named[1])} if named else operation.again if suspected else frozenset()
        kept = {item["object"]: item for item in operation.items if item["object"] not in gone}
        for object_id, item in kept.items():
            self._returned[object_id] = _newer(self._returned.get(object_id), item)
        self._again |= frozenset(kept) if suspected else operation.again & frozenset(kept)
        lost = sorted({item["object"] for item in operation.items} & gone)
        told = [f"The prompts of objects {lost} are dropped."] if lost else []
        told += [f"The prompts of objects {sorted(kept)} go with the next frame."] if kept else []
        return type(error)(" ".join((str(error), *told)))


def _merged(older: Mapping[int, prompts.Item], newer: Mapping[int, prompts.Item]) -> dict[int, prompts.Item]:
    """Prompts by object, the newer ones where there are both."""
    return {**older, **{object_id: _newer(older.get(object_id), item) for object_id, item in newer.items()}}


def _newer(earlier: prompts.Item | None, later: prompts.Item) -> prompts.Item:
    """What remains of the prompts of two frames where the earlier was refused: the later ones, and what they add their points to."""
    try:
        return prompts.joined(earlier, later)
    except BadPrompt:  # points beside a mask, which were for two frames
        return later


def changed_nothing(error: MaskletError, text: str) -> bool:
    """Whether an error, of this text on the wire, says that the request it refuses has changed nothing."""
    return isinstance(error, RequestError | ServerBusy) or (isinstance(error, ServerFault) and from_masklet(text))


def restoring(state: bytes) -> Operation:
    """The operation that begins a video from a snapshot. Raises BadRequest."""
    if not isinstance(state, bytes | bytearray | memoryview) or len(state) == 0:
        raise BadRequest("state must be the bytes of a snapshot, as Video.snapshot() gives them.")
    return Operation("the restored video", Options(masks="none"), tensors={"STATE": np.frombuffer(state, dtype=np.uint8)[None]})


def removal(object_id: int) -> Operation:
    """The operation that forgets an object. Raises BadPrompt."""
    return Operation(f"the removal of object {object_id}", Options(masks="none"), [prompts.removal(object_id)])


def snapshot() -> Operation:
    """The operation for a snapshot."""
    return Operation("the snapshot", Options(masks="none", snapshot=True))


def end() -> Operation:
    """The operation that frees the video."""
    return Operation("END", Options(masks="none"))


def prompts_tensor(operation: Operation) -> np.ndarray:
    """The tensor PROMPTS of an operation."""
    text = json.dumps(list(operation.items), separators=(",", ":"), allow_nan=False).encode()
    return bytes_tensor(text)


def _plain(options: dict[str, Any]) -> dict[str, Any]:
    """The options that were given, numpy numbers as plain ones."""
    return {name: value.item() if isinstance(value, np.generic) else value for name, value in options.items() if value is not None}

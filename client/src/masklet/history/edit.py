"""What a rewind changes, as operations: those of a frame with other prompts than it had."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from masklet import prompts
from masklet.connection.operations import Operation, Operations
from masklet.history.log import Kept
from masklet.prompts import Item
from masklet.wire import Options


def with_edits(items: Iterable[Item], edits: Iterable[Iterable[Item]]) -> tuple[dict[int, Item], dict[int, bool]]:
    """The prompts of a frame after edits; and the objects removed before it, with whether that took prompts away. Raises BadPrompt."""
    kept = {item["object"]: item for item in items}
    removed: dict[int, bool] = {}
    for edit in edits:
        for item in edit:
            number = item["object"]
            if "remove" in item:
                removed[number] = kept.pop(number, None) is not None or removed.get(number, False)
            else:
                kept[number] = prompts.joined(kept.get(number), item)
    return kept, removed


def as_asked(kept: Kept, *, shown: bool, state: bool) -> Operation:
    """An entry once more. `shown`: with the results that the caller asked for; `state`: with a snapshot."""
    return replace(kept.operation, options=_options(kept, kept.operation.options, shown=shown, state=state))


def edited(parts: Sequence[Kept], items: Iterable[Item], *, state: bool) -> Iterator[Operation]:
    """A frame with these prompts, as it would have been sent: in several requests where they are more than one takes. `parts`: as it was sent."""
    made = Operations()
    made.keep(items)
    options = vars(_options(parts[0], parts[-1].operation.options, shown=True, state=state)).copy()  # those of the last are what the caller asked for
    sent = parts[0].pixels
    while True:
        operation = made.frame(sent, **options)
        yield operation
        if not operation.more:
            return
        options["rest"] = True


def _options(kept: Kept, options: Options, *, shown: bool, state: bool) -> Options:
    if not kept.operation.is_frame:
        return options
    options = replace(options, frame_index=kept.frame_index, snapshot=state)
    return options if shown else replace(options, masks="none", logits=False)

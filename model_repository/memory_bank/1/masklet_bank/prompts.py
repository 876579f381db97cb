"""Prompts as the bank uses them: those of the envelope, with their masks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from masklet import envelope
from masklet.errors import BadRequest


@dataclass(frozen=True)
class Prompt:
    """What a request asks of one object.

    points, labels          [n, 2] float32 model pixels and [n] int32 (1, 0; 2 and 3 for box corners, which come first)
    append, clear, remove   as in `masklet.envelope.Prompt`
    mask                    [M, M] uint8, or float32 where masks are soft; or None
    low                     [L, L] float32, the mask as low-resolution logits, where masks are soft; or None
    """

    object_id: int
    points: np.ndarray
    labels: np.ndarray
    append: bool = False
    clear: bool = False
    remove: bool = False
    mask: np.ndarray | None = None
    low: np.ndarray | None = None

    @property
    def gives(self) -> bool:
        """Whether the prompt carries points, a box or a mask."""
        return self.mask is not None or len(self.labels) > 0


def with_masks(prompts: Sequence[envelope.Prompt], masks: np.ndarray, lows: np.ndarray | None) -> Iterator[Prompt]:
    """Joins prompts and their masks, [k, M, M] and, where masks are soft, [k, L, L]; these are copied. Raises BadRequest for another k."""
    expected = sum(prompt.mask for prompt in prompts)
    if not expected == len(masks) == (expected if lows is None else len(lows)):
        raise BadRequest(f"{len(masks)} masks came with an envelope for {expected}. Send requests to the model `tracker`.")
    rows = iter(range(expected))
    for prompt in prompts:
        row = next(rows) if prompt.mask else None
        yield Prompt(
            prompt.object_id,
            np.array(prompt.points, np.float32).reshape(-1, 2),
            np.array(prompt.labels, np.int32),
            prompt.append,
            prompt.clear,
            prompt.remove,
            None if row is None else masks[row].copy(),
            None if row is None or lows is None else lows[row].copy(),
        )

"""The memory policy of SAM 3: of the ordinary frames the newest with a good mask are read, instead of simply the newest."""

from __future__ import annotations

import math

from masklet_bank.policies.official import MemoryPolicy


class Selected(MemoryPolicy):
    """Where `family.selection` says from which quality on a mask is good. Only tracked frames are selected (sam3_tracker_base.py:540-544), so nothing
    is kept of conditioning frames over the cap."""

    judges = True

    def trusts(self, score: float, iou: float) -> bool:
        """By the predicted IoU, weighted by how surely the object is there: 0..1 (sam3_tracker_base.py:508-515)."""
        assert self.family.selection is not None
        presence = 2 / (1 + math.exp(-score)) - 1 if score > 0 else 0.0
        return presence * iou > self.family.selection.threshold

    def past(self, trusted: frozenset[int], frame: int, direction: int) -> list[int]:
        """The frame just before, and the newest of those before that are trusted, frame 0 never among them when travelling forward
        (sam3_tracker_base.py:517-557)."""
        before = frame - direction
        behind = [past for past in trusted if direction * (frame - past) > 0 and (past != 0 or direction < 0)]
        newest = sorted(behind, key=lambda past: abs(frame - past))[: self.family.num_pointers - 1]
        return [before, *(past for past in newest if past != before)]

    def pointed(self, past: list[int]) -> list[int]:
        """Never that of the farthest frame on the list (sam3_tracker_base.py:723)."""
        return past[:-1]

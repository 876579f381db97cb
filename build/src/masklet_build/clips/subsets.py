"""What happens in a clip, read from its masks."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from masklet_build.clips.draw import Drawn

SUBSETS = ("occlusion", "look_alike", "return", "plain")

_LEAST_AREA = 0.003  # of the frame: less counts as neither inside nor seen
_BACK = 3  # frames that an object is seen for after it returned


def happened(drawn: Drawn, has_look_alike: bool) -> frozenset[str]:
    """The subsets of a clip.

    occlusion   an object loses more than half of what it would show inside the frame to things in front of it, in some frame
    return      an object shows no pixel for `absence` frames or more, and is clearly seen again in 3 frames or more
    look_alike  something was drawn that looks like an object
    plain       none of these
    """
    visible, least = drawn.masks.sum(axis=(2, 3)), _least(drawn)
    found = {
        "occlusion": bool(((drawn.unoccluded > least) & (visible < 0.5 * drawn.unoccluded)).any()),
        "return": any(_returns(areas, least) for areas in visible.T),
        "look_alike": has_look_alike,
    }
    return frozenset(name for name, true in found.items() if true) or frozenset({"plain"})


def absence(frames: int) -> int:
    """Frames that an object must be away for, at least, to count as one that returns, in a clip of so many frames."""
    return 8 if frames >= 24 else 2


def _least(drawn: Drawn) -> float:
    return _LEAST_AREA * drawn.masks[0, 0].size


def _returns(areas: NDArray[np.int64], least: float) -> bool:
    """Whether an object of these visible areas (T,) goes away for long enough and comes back."""
    away = absence(len(areas))
    gone = (begin for begin in range(1, len(areas) - away) if not areas[begin : begin + away].any())
    return any((areas[begin + away :] >= least).sum() >= _BACK for begin in gone)


def is_hidden_once(drawn: Drawn) -> bool:
    """Whether an object inside the frame shows no pixel in some frame, and is clearly seen again in 3 frames or more; in short clips, in 1 or 2."""
    visible, least = drawn.masks.sum(axis=(2, 3)), _least(drawn)
    hidden = (visible == 0) & (drawn.unoccluded > least)
    firsts = ((index, int(np.argmax(hidden[:, index]))) for index in np.flatnonzero(hidden.any(axis=0)))
    return any((visible[first:, index] >= least).sum() >= min(_BACK, len(visible) // 8) for index, first in firsts)

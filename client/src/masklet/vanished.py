"""The warning about an object that has no pixel on the frame that it was prompted on."""

from __future__ import annotations

import sys
import warnings

from masklet.results import TrackedFrame


def told(result: TrackedFrame, object_id: int) -> str:
    """What to say of one object of `result.vanished`."""
    cell = f" (here about {result.cell[1]:.3g} x {result.cell[0]:.3g} pixels, width x height)" if result.cell else ""
    return (
        f"object {object_id} has no pixel on frame {result.frame_index}, where it was prompted. What is smaller than a cell of the model{cell} is "
        "lost: track a crop around it, enlarged, or take a variant with larger images. If it is larger, look at the prompt."
    )


def warning(result: TrackedFrame, object_id: int) -> None:
    """Warns (UserWarning) whoever called masklet of it."""
    warnings.warn(told(result, object_id), stacklevel=_callers_level())


def _callers_level() -> int:
    """The `stacklevel`, for `warning`, of the first frame that is not masklet's."""
    level, frame = 1, sys._getframe(1)
    while frame.f_back and frame.f_globals.get("__name__", "").partition(".")[0] in ("masklet", "asyncio"):
        level, frame = level + 1, frame.f_back
    return level

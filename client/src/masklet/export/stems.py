"""Names of files beside those of frames."""

from __future__ import annotations

from masklet.errors import ExportError
from masklet.export.results_file import FrameMasks


class Stems:
    """Names of frames without suffix, and whose they are."""

    def __init__(self) -> None:
        self._frames: dict[str, str] = {}

    def of(self, frame: FrameMasks) -> str:
        """That of a frame. Raises ExportError where another frame has it, as for a.jpg and a.png."""
        if frame.stem in self._frames:
            raise ExportError(
                f"the frames {self._frames[frame.stem]} and {frame.name} would share the file {frame.stem}; rename one, there and in masks.jsonl."
            )
        self._frames[frame.stem] = frame.name
        return frame.stem

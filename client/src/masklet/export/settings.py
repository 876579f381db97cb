"""What a user says of an export, and what he is told."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from masklet.errors import ExportError
from masklet.sources import Frame

DEFAULT_NAME = "object"


@dataclass(frozen=True)
class Settings:
    """Names of objects by id, frames per second if they are given, and the video; `notes` collects what to tell."""

    names: Mapping[int, str]
    fps: float | None
    video: str | Path | Iterable[Frame] | None
    notes: list[str] = field(default_factory=list)

    def category(self, object_id: int) -> str:
        """The name of the object's category."""
        return self.names.get(object_id, DEFAULT_NAME)

    def categories(self, object_ids: Iterable[int]) -> dict[str, int]:
        """The categories of these objects, numbered from 1."""
        return {name: number for number, name in enumerate(dict.fromkeys(map(self.category, object_ids)), 1)}

    @contextmanager
    def frames(self) -> Iterator[Iterator[Frame]]:
        """The frames of the video. Raises ExportError where there is none, MaskletError for one that cannot be read."""
        if self.video is None:
            raise ExportError("this format needs the video that was tracked: give it with --video.")
        if not isinstance(self.video, str | Path):
            yield iter(self.video)
            return
        from masklet.sources import open_source  # PyAV and Pillow

        with open_source(self.video) as source:
            yield iter(source)

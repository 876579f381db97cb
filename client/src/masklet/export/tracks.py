"""From masks by frame to masks by object, for formats that have objects outside and frames inside."""

from __future__ import annotations

import json
from array import array
from collections.abc import Iterator
from typing import IO, Any


class Tracks:
    """Entries of objects by frame, in a file that can be read too; 24 bytes of memory each."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._places: dict[int, array[int]] = {}  # object -> frame, offset and length of each entry
        self._end = 0

    def add(self, object_id: int, frame: int, entry: Any) -> None:
        """Keeps what JSON can hold. An object's frames ascend."""
        text = json.dumps(entry).encode()
        self._file.write(text)
        self._places.setdefault(object_id, array("q")).extend((frame, self._end, len(text)))
        self._end += len(text)

    def of(self, object_id: int) -> Iterator[tuple[int, Any]]:
        """The frames and entries of an object."""
        places = self._places.get(object_id, array("q"))
        for frame, offset, length in zip(places[::3], places[1::3], places[2::3], strict=True):
            self._file.seek(offset)
            yield frame, json.loads(self._file.read(length))

"""Going on where a video was cut short: a file beside the results says how far they are, and holds the video's state there.

`resume.state` lies in the folder of the results from the first frame until all is done: one JSON line, and behind it a snapshot of the video. It is
replaced as a whole (written beside, synced, renamed), so that the snapshot, and the length of masks.jsonl that it belongs to, always fit each other.
Results after it are computed again, and come out the same.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from masklet.cli.failure import Failure

EVERY_S = 10.0  # so much work is lost at most, and what was on its way. Four objects of nano: 1.2 MiB, 15 ms
_SHARE = 20  # snapshots take a 20th of the time at most
_VERSION = 1


@dataclass(frozen=True)
class Progress:
    """How far the results are.

    frame     index of the last frame that counts; -1: none
    length    bytes of masks.jsonl up to and with its line
    prompts   digest of the prompts given so far
    settings  what must be the same to go on
    """

    frame: int
    length: int
    prompts: str
    settings: dict[str, Any]


def file_of(folder: Path) -> Path:
    """Where the progress of the results in a folder is kept."""
    return folder / "resume.state"


def save(folder: Path, progress: Progress, state: bytes) -> None:
    """Keeps how far the results are. Raises OSError."""
    folder.mkdir(parents=True, exist_ok=True)
    part = _part_of(folder)
    with part.open("wb") as out:
        out.write(json.dumps({"version": _VERSION, **asdict(progress)}).encode() + b"\n" + state)
        out.flush()
        os.fsync(out.fileno())
    part.replace(file_of(folder))


def remove(folder: Path) -> None:
    """Ends it: all is done. Raises OSError."""
    for file in (file_of(folder), _part_of(folder)):
        file.unlink(missing_ok=True)


def is_new(folder: Path) -> bool:
    """Whether nothing is in a folder, or only what was left where the first progress could not be kept."""
    return not folder.exists() or all(file == _part_of(folder) for file in folder.iterdir())


def load(folder: Path) -> tuple[Progress, bytes]:
    """What was kept. Raises Failure where it cannot be used."""
    head, _, state = file_of(folder).read_bytes().partition(b"\n")
    try:
        said = json.loads(head)
        if said.pop("version") != _VERSION:
            raise Failure(f"{file_of(folder)} is of another version of masklet. Choose another folder, and start again.")
        return Progress(**said), state
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise Failure(f"{file_of(folder)} is damaged ({error}). Choose another folder, and start again.") from error


def _part_of(folder: Path) -> Path:
    return folder / "resume.state.part"


class Snapshots:
    """Takes snapshots of a video now and then: after EVERY_S, later where they take long."""

    def __init__(self) -> None:
        self._due = time.monotonic() + EVERY_S

    @property
    def due(self) -> bool:
        """Whether it is time for one."""
        return time.monotonic() >= self._due

    def take(self, snapshot: Callable[[], bytes]) -> bytes:
        """One, by this call."""
        began = time.monotonic()
        state = snapshot()
        now = time.monotonic()
        self._due = now + max(EVERY_S, _SHARE * (now - began))
        return state

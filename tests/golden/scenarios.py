"""Golden scenarios: what an official predictor answered to a list of calls, for weights that can be rebuilt.

A folder holds recipe.json and calibrated.npz (the weights, see rebuilt.py) and expected_<scenario>.npz (calls and answers). The frames lie in
frames/<clip> in it or beside it. tests/data/README.md describes the arrays.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

EARLY_FRAMES = 15  # up to this frame answers are compared within the narrow bar, where a scenario does not say how steady it is


class GoldenError(Exception):
    """The folder is not a golden set, or its files are not the ones that were recorded."""


@dataclass(frozen=True)
class Record:
    """One mask that the official predictor returned.

    kind         "prompt": answer to a prompt call; "other": what that call returned for another object; "track": a tracked frame;
                 "track_prompted": a prompted frame, passed again
    step         index of the call
    """

    key: str
    kind: str
    step: int
    frame: int
    object_id: int
    score: float | None


@dataclass(frozen=True)
class Scenario:
    """One scenario: the calls of the official predictor (`steps`), its answers (`records`) and their arrays."""

    folder: Path
    name: str
    meta: Mapping[str, Any]
    arrays: Mapping[str, np.ndarray]

    @property
    def steps(self) -> list[dict[str, Any]]:
        """The calls, in order."""
        return list(self.meta["steps"])

    @cached_property
    def records(self) -> list[Record]:
        """The answers, in the order in which they were given."""
        return [
            Record(item["key"], item["kind"], item["step"], item["frame"], item["object"], item.get("object_score")) for item in self.meta["records"]
        ]

    @cached_property
    def _by_key(self) -> dict[str, dict[str, Any]]:
        return {item["key"]: item for item in self.meta["records"]}

    @property
    def early_frames(self) -> int:
        """The last frame for which the narrow bar holds: how far noise grows was seen when the scenario was recorded, or is assumed."""
        return int(self.meta.get("early_frames", EARLY_FRAMES))

    @property
    def low_step(self) -> int:
        """Of the low-resolution logits, every so-many-th row and column were recorded."""
        return int(self.meta.get("low_step", 1))

    def low(self, key: str) -> np.ndarray | None:
        """Recorded low-resolution logits [L / step, L / step] float32; None for a user's mask that was shown as it was given (SAM 3)."""
        item = self._by_key[key]
        shape = (self.meta["low_size"] // self.low_step,) * 2
        if "low_from" in item:
            return self.low(item["low_from"])
        if "low_constant" in item:
            return np.full(shape, item["low_constant"], np.float32)
        if f"{key}_low" not in self.arrays:
            return None
        return np.asarray(self.arrays[f"{key}_low"], np.float32).reshape(shape)

    def mask(self, key: str) -> np.ndarray:
        """Mask [H, W] bool of a record, at the size of the video."""
        return self._unpack(self.arrays[f"{key}_mask"])

    def prompt_mask(self, step: int) -> np.ndarray:
        """The mask [H, W] bool that a `mask` call gave."""
        return self._unpack(self.arrays[f"step{step}_mask"])

    def present(self, key: str) -> bool:
        """Whether the record says that the object is there: only such a record proves something about masks."""
        return bool(self.mask(key).any())

    def frames(self) -> list[bytes]:
        """The JPEG files of the clip. Raises GoldenError if one is missing or another file than the recorded one."""
        clip = self.meta["clip"]
        name = Path(clip["folder"]).name
        places = [place / "frames" / name for place in (self.folder, self.folder.parent)]
        folder = next((place for place in places if place.is_dir()), None)
        if folder is None:
            raise GoldenError(f"the frames of clip {name!r} are in none of {', '.join(map(str, places))}.")
        files = sorted(folder.glob("*.jpg"))[: clip["frames"]]
        frames = [file.read_bytes() for file in files]
        for data, expected in zip(frames, _hashes(clip["sha256"]), strict=True):
            if hashlib.sha256(data).hexdigest() != expected:
                raise GoldenError(f"a frame in {folder} is not the one that was recorded.")
        return frames

    def _unpack(self, bits: np.ndarray) -> np.ndarray:
        height, width = self.meta["clip"]["height"], self.meta["clip"]["width"]
        return np.unpackbits(bits)[: height * width].reshape(height, width).astype(bool)


def _hashes(recorded: Any) -> list[str]:
    return [recorded[name] for name in sorted(recorded)] if isinstance(recorded, dict) else list(recorded)


def load(folder: Path, name: str) -> Scenario:
    """Reads expected_<name>.npz of a golden folder. Raises GoldenError that lists the scenarios there are."""
    path = folder / f"expected_{name}.npz"
    if not path.is_file():
        raise GoldenError(f"{folder} has no scenario {name!r}. It has: {', '.join(scenarios(folder)) or 'none'}.")
    with np.load(path) as file:
        arrays = {key: file[key] for key in file.files if key != "meta"}
        meta = json.loads(str(file["meta"]))
    return Scenario(folder, name, meta, arrays)


def scenarios(folder: Path) -> list[str]:
    """Names of the scenarios in a folder."""
    return sorted(path.stem.removeprefix("expected_") for path in folder.glob("expected_*.npz"))

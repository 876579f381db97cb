"""What engines are asked, and what the float32 network answered: rows, from which calls of any batch are put together.

A row is one object in a call (of image_encoder: one frame). Objects do not influence one another, so one row serves every batch, and an engine that
mixes rows up is seen. Inputs are real ones, rounded to what float16 holds exactly before the network was asked, so that they are stored in half
the space without loss. Of a large output only a part is stored, spread evenly over it.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np

from masklet_build.manifest import FIXTURES
from masklet_build.samples import Sizes
from masklet_build.selftest.scenario import Recorded

SHIPPED = Path(__file__).parent / "nano_fixtures.npz"  # of the nano that is in the package

MOST = 1 << 14  # numbers stored of one row's output
_VERSION = 1
_COUNTED = {"memory_attention": {"F": "MEMORY", "P": "POINTERS"}, "mask_decoder": {"N": "LABELS"}, "memory_encoder": {"R": "RIVALS"}}

Tensors = Mapping[str, np.ndarray]


class FixturesError(Exception):
    """The fixtures are missing, damaged, or of other weights; the message says what to do."""


@dataclass(frozen=True)
class Expected:
    """A row's output: its shape, and the numbers of it that `taken` takes."""

    shape: tuple[int, ...]
    values: np.ndarray


@dataclass(frozen=True)
class Row:
    """One row.

    frame    number of the frame whose features the engine gets; None: it gets none
    inputs   by name, without leading dimension; the frame's features are not among them
    outputs  by name
    """

    engine: str
    frame: int | None
    inputs: Tensors
    outputs: Mapping[str, Expected] = field(default_factory=dict)

    @property
    def sizes(self) -> Sizes:
        """F and P, N, or R: how many memories and pointers, prompt tokens or rivals it has."""
        return Sizes(**{dim: len(self.inputs[name]) for dim, name in _COUNTED.get(self.engine, {}).items() if name in self.inputs})


@dataclass(frozen=True)
class Fixtures:
    """Everything that is known of one set of weights.

    frames   of each stored frame: IMAGE, and its features by name (EMBEDDING, HIGH_RES_*), without leading dimension
    clip     a clip as it was tracked
    made     what made it: versions, frames tracked, rows that were left out as near ties
    """

    variant: str
    checkpoint_sha256: str
    frames: Sequence[Tensors]
    rows: Sequence[Row]
    clip: Recorded
    made: Mapping[str, Any]

    def of(self, engine: str) -> list[Row]:
        """The rows of one engine."""
        return [row for row in self.rows if row.engine == engine]


def taken(output: np.ndarray) -> np.ndarray:
    """What is stored of a row's output: all of it, flat, or MOST numbers spread evenly: every k-th, round and round, k near the golden section.

    So neighbouring rows, columns and channels are all met, whatever powers of 2 the shape has.
    """
    flat = output.reshape(-1)
    if flat.size <= MOST:
        return flat
    step = int(flat.size * 0.618) | 1
    while math.gcd(step, flat.size) > 1:
        step += 2
    return flat[np.arange(MOST, dtype=np.int64) * step % flat.size]


def halved(array: np.ndarray) -> np.ndarray:
    """Floats rounded to what float16 holds, still float32; other types as they are."""
    return array.astype(np.float16).astype(np.float32) if array.dtype == np.float32 else array


class _Shelf:
    """Arrays by key, equal ones stored once."""

    def __init__(self) -> None:
        self.arrays: dict[str, np.ndarray] = {}
        self._keys: dict[tuple[str, tuple[int, ...], bytes], str] = {}

    def put(self, array: np.ndarray) -> str:
        known = (array.dtype.str, array.shape, array.tobytes())
        if known not in self._keys:
            self._keys[known] = key = f"array_{len(self.arrays)}"
            self.arrays[key] = array
        return self._keys[known]

    def put_input(self, name: str, array: np.ndarray) -> str | list[str]:
        """Inputs are exact in float16. Memories are stored one by one: rows share them."""
        if array.dtype == np.float32:
            array = array.astype(np.float16)
        return [self.put(memory) for memory in array] if name == "MEMORY" else self.put(array)


def write(fixtures: Fixtures, path: Path) -> None:
    """Writes one .npz."""
    shelf = _Shelf()
    meta = {
        "version": _VERSION,
        "variant": fixtures.variant,
        "checkpoint_sha256": fixtures.checkpoint_sha256,
        "made": dict(fixtures.made),
        "frames": [{name: shelf.put_input(name, array) for name, array in frame.items()} for frame in fixtures.frames],
        "rows": [
            {
                "engine": row.engine,
                "frame": row.frame,
                "inputs": {name: shelf.put_input(name, array) for name, array in row.inputs.items()},
                "outputs": {name: [list(one.shape), shelf.put(one.values)] for name, one in row.outputs.items()},
            }
            for row in fixtures.rows
        ],
        "clip": fixtures.clip.to_json(shelf.put),
    }
    arrays: dict[str, Any] = {"meta": np.array(json.dumps(meta)), **shelf.arrays}
    np.savez_compressed(path, **arrays)


def read(path: Path) -> Fixtures:
    """Reads what `write` wrote. Raises FixturesError."""
    try:
        with path.open("rb") as opened, np.load(opened) as file:
            arrays = {name: file[name] for name in file.files}
        meta = json.loads(str(arrays.pop("meta")))
        if meta["version"] != _VERSION:
            raise FixturesError(f"{path} has version {meta['version']}; this masklet-build reads {_VERSION}. Export again.")
        return _fixtures(meta, arrays)
    except (BadZipFile, OSError, ValueError, KeyError) as error:
        raise FixturesError(f"{path} cannot be read as fixtures ({type(error).__name__}: {error}). Export again.") from error


def _fixtures(meta: Mapping[str, Any], arrays: Tensors) -> Fixtures:
    def given(key: str | list[str]) -> np.ndarray:
        array = np.stack([arrays[one] for one in key]) if isinstance(key, list) else arrays[key]
        return array.astype(np.float32) if array.dtype == np.float16 else array

    rows = [
        Row(
            item["engine"],
            item["frame"],
            {name: given(key) for name, key in item["inputs"].items()},
            {name: Expected(tuple(shape), arrays[key]) for name, (shape, key) in item["outputs"].items()},
        )
        for item in meta["rows"]
    ]
    frames = [{name: given(key) for name, key in frame.items()} for frame in meta["frames"]]
    return Fixtures(meta["variant"], meta["checkpoint_sha256"], frames, rows, Recorded.from_json(meta["clip"], arrays), meta["made"])


def find(places: Sequence[Path], variant: str, checkpoint_sha256: str) -> Fixtures:
    """The fixtures of these weights: in one of the files or folders, or, for masklet's own nano, in the package. Raises FixturesError."""
    files = [place / FIXTURES if place.is_dir() else place for place in places]
    for file in (*files, SHIPPED):
        if file.is_file():
            fixtures = read(file)
            if (fixtures.variant, fixtures.checkpoint_sha256) == (variant, checkpoint_sha256):
                return fixtures
    raise FixturesError(
        f"no fixtures of {variant} with weights {checkpoint_sha256[:12]} in {' or '.join(map(str, files))}. "
        f"`masklet-build export {variant} ...` writes {FIXTURES} beside the engines: name it with --fixtures, or export again."
    )

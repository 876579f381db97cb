"""Results as `masklet track` writes them, drawn here."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from masklet import rle

SIZE = (48, 64)
Masks = dict[int, dict[int, np.ndarray]]


def disc(y: float, x: float, radius: float, size=SIZE) -> np.ndarray:
    rows, columns = np.ogrid[: size[0], : size[1]]
    return (rows - y) ** 2 + (columns - x) ** 2 <= radius**2


def line(index: int, objects: dict[int, np.ndarray], name: str | None = None, time: float | None = None, size=SIZE) -> dict:
    entries = []
    for object_id, mask in objects.items():
        rows, columns = np.nonzero(mask)
        box = [float(columns.min()), float(rows.min()), float(columns.max() + 1), float(rows.max() + 1)] if len(rows) else [0.0] * 4
        entries.append({"object": object_id, "mask": rle.encode(mask), "box": box, "score": 3.5, "iou": 0.9})
    said = {"frame": index, "name": name or f"{index:05}", "time": index / 10 if time is None else time, "size": list(size)}
    return said | {"objects": entries}


@pytest.fixture
def written(tmp_path) -> Callable[..., Path]:
    """Writes lines as the results of a video called `cups`."""

    def write(lines: list[dict | str]) -> Path:
        folder = tmp_path / "cups"
        folder.mkdir(exist_ok=True)
        texts = [text if isinstance(text, str) else json.dumps(text) + "\n" for text in lines]
        (folder / "masks.jsonl").write_text("".join(texts))
        return folder

    return write


@pytest.fixture
def masks() -> Masks:
    """Four frames: object 1 moves, 2 has a hole and two parts and overlaps 1, 300 appears in frame 1 and is gone in frame 2."""
    ring = disc(20, 40, 12) & ~disc(20, 40, 6) | disc(40, 5, 3)
    nothing = np.zeros(SIZE, dtype=bool)
    return {index: {1: disc(20, 25 + index, 9), 2: ring, 300: disc(8, 8, 4) if index in (1, 3) else nothing} for index in range(4)}


@pytest.fixture
def results(written, masks) -> Path:
    return written([line(index, objects, f"img_{index}.png") for index, objects in masks.items()])

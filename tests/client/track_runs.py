"""Running `masklet track` on drawn frames, and reading what it wrote."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from masklet.cli import main
from masklet.testing import MockTransport

SIZE = (48, 64)


def picture(index: int, size: tuple[int, int] = SIZE) -> np.ndarray:
    frame = np.full((*size, 3), 60, dtype=np.uint8)
    frame[10:30, 2 * index : 2 * index + 16] = (200, 30, 40)
    return frame


def folder_of(folder: Path, names: list[str], size: tuple[int, int] = SIZE) -> Path:
    """A folder of drawn frames with these names."""
    folder.mkdir(parents=True)
    for index, name in enumerate(names):
        Image.fromarray(picture(index, size)).save(folder / name)
    return folder


def track(video: Path, out: Path, *words: object) -> int:
    return main(["track", *map(str, (video, "--url", "test:1", "--out", out, *words))])


def lines(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "masks.jsonl").read_text().splitlines()]


def frames_sent(server: MockTransport) -> list[Any]:
    """The requests that carry a frame."""
    return [request for request in server.requests if "FRAME" in request.tensors]


def prompts_sent(server: MockTransport) -> dict[int, list[dict[str, Any]]]:
    """The prompts, by the index of their frame, as far as there are any."""
    sent = {request.parameters.get("frame_index", -1): json.loads(request.tensors["PROMPTS"][0, 0]) for request in frames_sent(server)}
    return {index: items for index, items in sent.items() if items}


def written(out: Path) -> dict[str, bytes]:
    """All that a run wrote."""
    return {str(file.relative_to(out)): file.read_bytes() for file in sorted(out.rglob("*")) if file.is_file()}

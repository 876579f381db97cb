"""Videos over a toy server that are recorded, and what was sent."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from PIL import Image

from masklet import Tracker
from masklet.recording import Recording
from masklet.testing import MockTransport, Request
from tests.fakes.toy_tracker import ToyTracker

SHAPE = (24, 32)


def pixels(seed: int, shape: tuple[int, int] = SHAPE) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (*shape, 3), dtype=np.uint8)


def file(seed: int, form: str, shape: tuple[int, int] = SHAPE) -> bytes:
    into = io.BytesIO()
    Image.fromarray(pixels(seed, shape)).save(into, form)
    return into.getvalue()


MIXED = [
    *(pixels(seed) for seed in range(3)),
    *(file(seed, "JPEG") for seed in range(3)),
    file(3, "PNG"),
    file(4, "WEBP"),
    file(5, "JPEG", (30, 40)),
    *(pixels(seed, (17, 23)) for seed in range(6, 8)),
    file(8, "JPEG"),
]


def sent(transport: MockTransport) -> list[Request]:
    """What was asked for videos, without the question what the server is."""
    return [request for request in transport.requests if not request.parameters.get("info")]


def same(recorded: Request, request: Request) -> bool:
    parameters = {name: value for name, value in request.parameters.items() if name != "owner"}
    facts = [
        (one.video_id, one.start, one.end, one.parameters)
        for one in (recorded, Request(request.video_id, request.start, request.end, {}, parameters))
    ]
    tensors = recorded.tensors.keys() == request.tensors.keys() and all(
        recorded.tensors[name].dtype == array.dtype and np.array_equal(recorded.tensors[name], array) for name, array in request.tensors.items()
    )
    return facts[0] == facts[1] and tensors


def play(folder: Path, frames: list, **opened: object) -> tuple[MockTransport, list]:
    transport = MockTransport(ToyTracker())
    with Tracker("test:1", transport=transport, record=folder) as tracker, tracker.open(**opened) as video:
        video.prompt(1, points=[(3, 4)])
        got = [video.track(frame) for frame in frames]
        video.prompt(2, mask=np.eye(*np.shape(frames[0])[:2], dtype=bool)) if isinstance(frames[0], np.ndarray) else None
        video.remove(1)
        video.snapshot()
    return transport, got


def check(recording: Recording, transport: MockTransport) -> None:
    asked = sent(transport)
    assert len(recording.exchanges) == len(asked)
    assert all(same(one.request, request) for one, request in zip(recording.exchanges, asked, strict=True))

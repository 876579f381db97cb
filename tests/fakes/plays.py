"""Random plays: what a caller may do with a video, and what comes of it. All follows from a seed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from masklet import TrackedFrame
from masklet.errors import RequestError
from tests.fakes.toy_replicas import BAD_FRAME

Outcome = tuple[Any, ...]
_KINDS = {"many": 0.3, "one": 0.15, "refine": 0.1, "prompted": 0.1, "ahead": 0.05, "remove": 0.1, "snapshot": 0.08, "bad": 0.07, "reverse": 0.05}


@dataclass(frozen=True)
class Play:
    """acts: called with a video, each gives outcomes; in between, the caller may have to prompt."""

    acts: list[Callable[[Any], list[Outcome]]]


def shown(result: TrackedFrame) -> Outcome:
    """All of a result that the toy servers fill; SCORES is the video's past."""
    return (result.frame_index, result.object_ids, result.scores.tolist(), None if result.snapshot is None else bytes(result.snapshot))


def told(call: Callable[[], Any]) -> Outcome:
    """The outcome of a call: what it gives, or its error if that is the caller's own."""
    try:
        value = call()
    except RequestError as error:
        return (type(error).__name__, str(error))
    return shown(value) if isinstance(value, TrackedFrame) else (value,)


def make_play(seed: int) -> Play:
    rng = np.random.default_rng(seed)
    number = iter(range(10_000))
    return Play([_act(rng, number) for _ in range(int(rng.integers(3, 12)))])


def _act(rng: np.random.Generator, number: Iterator[int]) -> Callable[[Any], list[Outcome]]:
    kind = rng.choice(
        ["many", "one", "refine", "prompted", "ahead", "remove", "snapshot", "bad", "reverse"], p=[0.3, 0.15, 0.1, 0.1, 0.05, 0.1, 0.08, 0.07, 0.05]
    )
    object_id, frame = int(rng.integers(1, 5)), str(next(number)).encode()
    point = {"points": [tuple(rng.integers(0, 4, 2).tolist())]}

    def prompted(video: Any, **options: Any) -> list[Outcome]:
        video.prompt(object_id, **point)
        return [told(lambda: video.track(frame, **options))]

    if kind == "many":
        frames = [str(next(number)).encode() if rng.random() > 0.05 else BAD_FRAME for _ in range(int(rng.integers(1, 14)))]
        in_flight = int(rng.integers(1, 6))
        return lambda video: _many(video, frames, in_flight)
    plain: dict[str, Callable[[Any], list[Outcome]]] = {
        "one": lambda video: [told(lambda: video.track(frame, snapshot=object_id == 1))],
        "prompted": prompted,
        "refine": lambda video: prompted(video, refine=True),
        "ahead": lambda video: prompted(video, track=False, frame_index=object_id),
        "reverse": lambda video: prompted(video, reverse=True, frame_index=50),
        "remove": lambda video: [told(lambda: video.remove(object_id))],
        "snapshot": lambda video: [told(video.snapshot)],
        "bad": lambda video: [told(lambda: video.track(BAD_FRAME))],
    }
    return plain[str(kind)]


def _many(video: Any, frames: list[bytes], in_flight: int) -> list[Outcome]:
    results = video.track_many(frames, in_flight=in_flight, skip_damaged=False)
    return [told(lambda: next(results)) for _ in frames]


def perform(play: Play, video: Any) -> list[Outcome]:
    """The outcomes of all acts, in order."""
    with video:
        return [outcome for act in play.acts for outcome in act(video)]

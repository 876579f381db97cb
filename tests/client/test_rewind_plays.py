"""Whatever a caller does, and whenever the click comes: the video is as if it had come in time. Random plays; all follows from a seed."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

from masklet import MaskletError, TrackedFrame, UnknownObject
from tests.fakes.recalling import SIDE, Recalling, pictures
from tests.serving.agreement import equal

pytestmark = pytest.mark.usefixtures("many_snapshots")

SEEDS = 12
PICTURES = pictures(64, seed=1)


@dataclass(eq=False)
class Frame:
    """A frame that is sent, with prompts (object, arguments; none: its removal) before it. `late`: those of rewinds, the newest last."""

    picture: Any
    options: dict[str, Any]
    prompts: list[tuple[int, dict[str, Any] | None]]
    late: list[list[tuple[int, dict[str, Any] | None]]] = field(default_factory=list)
    index: int = -1


def some_prompt(rng: np.random.Generator) -> dict[str, Any]:
    kind = rng.integers(4)
    points = {"points": rng.uniform(0, SIDE, (int(rng.integers(1, 3)), 2)).round(1).tolist()}
    if kind == 0:
        x, y = rng.uniform(0, SIDE / 2, 2).round(1).tolist()
        return {"box": (x, y, x + 9, y + 7)}
    return points | ({"append": True} if kind == 1 else {"labels": rng.integers(0, 2, len(points["points"])).tolist()} if kind == 2 else {})


def some_frames(rng: np.random.Generator, count: int) -> list[Frame]:
    frames, index, known = [], -1, {1}
    for number in range(count):
        kind = rng.choice(["next", "gap", "refine", "bad"], p=[0.7, 0.12, 0.1, 0.08]) if number else "next"
        prompts: list[tuple[int, dict[str, Any] | None]] = [] if number else [(1, {"points": [(9, 8)]})]
        if number and rng.random() < 0.25 and kind != "bad":
            one = int(rng.integers(1, 5))
            prompts.append((one, some_prompt(rng)))
            known.add(one)
        elif rng.random() < 0.06 and len(known) > 1:
            prompts.append((known.pop(), None))
        options: dict[str, Any] = {"logits": True, "masks": str(rng.choice(["rle", "bitmap"]))}
        if kind == "refine":
            options["refine"] = True
        elif kind != "bad":
            index += 1 if kind == "next" else int(rng.integers(2, 5))
            options |= {"frame_index": index} if kind == "gap" or rng.random() < 0.3 else {}
        frames.append(Frame(b"no image" if kind == "bad" else PICTURES[number], options, prompts, index=index))
        if kind == "bad":
            options["masks"] = "rle"
    return frames


def give(target: Any, prompts: list[tuple[int, dict[str, Any] | None]]) -> None:
    for object_id, prompt in prompts:
        if prompt is None:
            with suppress(UnknownObject):  # by an earlier removal; it changes nothing
                target.remove(object_id)
        else:
            target.prompt(object_id, **prompt)


def told(video: Any, frame: Frame) -> TrackedFrame | str:
    give(video, frame.prompts)
    for late in frame.late:
        give(video, late)
    try:
        return video.track(frame.picture, **frame.options)
    except MaskletError as error:
        return type(error).__name__


def in_time(tracker: Any, frames: list[Frame]) -> tuple[list[Any], bytes]:
    with tracker.open() as video:
        return [told(video, frame) for frame in frames], video.snapshot()


def clicked(rng: np.random.Generator, video: Any, sent: list[Frame]) -> tuple[Frame, Any] | None:
    """A rewind to one of the frames that were sent, with a click."""
    visits = [frame for frame in sent if "refine" not in frame.options and not isinstance(frame.picture, bytes)]
    frame = visits[int(rng.integers(len(visits)))]
    change: list[tuple[int, dict[str, Any] | None]] = [(int(rng.integers(1, 6)), some_prompt(rng))]
    with video.rewind(frame.index) as past:
        give(past, change)
    frame.late.append(change)
    return frame, past


def replaced(shown: list[Any], frames: list[Frame], frame: Frame, past: Any) -> None:
    """Puts the results that came again in the places of the first ones."""
    again = past.wait()
    places = [number for number in range(frames.index(frame), len(frames)) if not isinstance(frames[number].picture, bytes)]
    assert 0 < len(again) <= len(places)
    for number, result in zip(places, again, strict=False):
        assert result.label == "replayed"
        assert result.skipped == 0
        if number < len(shown):
            shown[number] = result


@pytest.mark.parametrize("seed", [0, 1, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(2, SEEDS))])
def test_any_play_with_late_clicks_is_the_play_with_clicks_in_time(make_tracker, seed):
    rng = np.random.default_rng(seed)
    frames, shown, made, under_way, clicks = some_frames(rng, 30), [], [], [], 0
    tracker = make_tracker("here:1", transport=Recalling())
    with tracker.open(history_s=1e6) as video:
        for number, frame in enumerate(frames):
            give(video, frame.prompts)
            try:
                shown.append(video.track(frame.picture, **frame.options))
            except MaskletError as error:
                shown.append(type(error).__name__)
            if rng.random() < 0.15:
                made.append(clicked(rng, video, frames[: number + 1]))
                under_way.append(made[-1])
                clicks += 1
            elif made and rng.random() < 0.08:
                frame, _ = made.pop()
                under_way.append((frame, video.undo()))
                frame.late.pop()
            if under_way and rng.random() < 0.3:
                for rewound in under_way:
                    replaced(shown, frames, *rewound)
                under_way = []
        for rewound in under_way:
            replaced(shown, frames, *rewound)
        state = video.snapshot()
    expected, in_time_state = in_time(tracker, frames)
    assert state == in_time_state
    same = [
        one == other if isinstance(one, str) else not isinstance(other, str) and equal(one, other) for one, other in zip(shown, expected, strict=True)
    ]
    assert all(same), f"frames {np.flatnonzero(np.logical_not(same))} of {[frame.index for frame in frames]}"
    assert clicks > 1

"""A drawn clip with prompts of every kind, and what was answered to it."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from masklet import rle
from masklet.results import TrackedFrame
from masklet.tracker import Tracker
from masklet_build.clips import Clip, bounding_box, inner_point, make_clip

CLICKS = 7  # further ones on objects 1 and 2, on the first frame
_JPEG_QUALITY = 90


@dataclass(frozen=True)
class Step:
    """One request: a frame, the prompts that go with it (arguments of `Video.prompt`; masks as run lengths), and whether it corrects that frame."""

    frame: int
    prompts: Sequence[Mapping[str, Any]] = ()
    refine: bool = False


@dataclass(frozen=True)
class Answered:
    """Masks as run lengths, and presence logits, in the order of the objects."""

    masks: Sequence[rle.Rle]
    scores: Sequence[float]


@dataclass(frozen=True)
class Recorded:
    """A clip (JPEG files), its true masks by frame, the requests, and the answers that float32 gave."""

    frames: Sequence[bytes]
    truth: Sequence[Sequence[rle.Rle]]
    steps: Sequence[Step]
    answers: Sequence[Answered]

    def to_json(self, put: Callable[[np.ndarray], str]) -> dict[str, Any]:
        """Ready for JSON; `put` stores an array and gives its key."""
        return {
            "frames": [put(np.frombuffer(data, np.uint8)) for data in self.frames],
            "truth": [list(masks) for masks in self.truth],
            "steps": [{"frame": step.frame, "prompts": [dict(prompt) for prompt in step.prompts], "refine": step.refine} for step in self.steps],
            "answers": [{"masks": list(answer.masks), "scores": list(answer.scores)} for answer in self.answers],
        }

    @classmethod
    def from_json(cls, item: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> Recorded:
        """What `to_json` gave; `arrays` by key."""
        return cls(
            [arrays[key].tobytes() for key in item["frames"]],
            item["truth"],
            [Step(**step) for step in item["steps"]],
            [Answered(**answer) for answer in item["answers"]],
        )


def drawn(frames: int) -> Recorded:
    """The clip of the selftest, without answers: three objects, prompted by click, box and mask, the first two also corrected by many clicks.

    The objects stay in view: where one goes away, float rounding decides on which frame that is noticed. Equal with the same numpy and Pillow.
    """
    clip = make_clip("test", 0, frames=max(frames, 24), objects=3, story="cross")
    truth = [[rle.encode(np.ascontiguousarray(mask)) for mask in masks] for masks in clip.masks[:frames]]
    prompted, corrected = Step(0, _prompts(clip)), Step(0, [_clicks(clip, 0), _clicks(clip, 1)], refine=True)
    later = [Step(frame) for frame in range(1, frames)]
    return Recorded([_jpeg(frame) for frame in clip.frames[:frames]], truth, [prompted, corrected, *later], [])


def _prompts(clip: Clip) -> list[dict[str, Any]]:
    first, second, third = clip.masks[0]
    return [
        {"object_id": 1, "points": [inner_point(first)]},
        {"object_id": 2, "box": bounding_box(second)},
        {"object_id": 3, "mask": rle.encode(np.ascontiguousarray(third))},
    ]


def _clicks(clip: Clip, index: int) -> dict[str, Any]:
    """Clicks spread over an object, and one beside it: on the third one."""
    rows, columns = np.nonzero(clip.masks[0, index])
    places = np.linspace(0, len(rows) - 1, CLICKS + 1).astype(int)[1:-1]
    points = [(int(columns[place]), int(rows[place])) for place in places]
    return {"object_id": index + 1, "points": [*points, inner_point(clip.masks[0, 2])], "labels": [*[1] * len(points), 0], "append": True}


def _jpeg(frame: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(frame).save(file, "JPEG", quality=_JPEG_QUALITY)
    return file.getvalue()


def play(tracker: Tracker, clip: Recorded) -> Iterator[TrackedFrame]:
    """Sends the requests of a clip as one video; gives the answer to each. Raises any MaskletError."""
    with tracker.open() as video:
        for step in clip.steps:
            for prompt in step.prompts:
                given = dict(prompt)
                if "mask" in given:
                    given["mask"] = rle.decode(given["mask"])
                video.prompt(given.pop("object_id"), **given)
            yield video.track(clip.frames[step.frame], refine=step.refine)


def answered(result: TrackedFrame) -> Answered:
    """An answer as it is stored."""
    return Answered([rle.encode(mask) for mask in result.masks], [float(score) for score in result.scores])

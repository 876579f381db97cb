"""What was recorded of a video, sent again to the network in this process up to the frame that is asked about."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from masklet import results, rle
from masklet.errors import MaskletError, from_server
from masklet.recording import RecordedAnswer, Recording
from masklet.recording.frames import has_frame, picture
from masklet.results import TrackedFrame
from masklet.testing.mock import MockStream
from masklet.transport.protocol import Answer, Refusal, Request
from masklet.wire import Options
from masklet_build.in_process import Foreseen, InProcess


class ExplainError(Exception):
    """It cannot be explained; the message says why and what to do."""


@dataclass(frozen=True, eq=False)
class Moment:
    """An answer about the object.

    number    of its request in the recording, from 0
    prompted  the request prompted the object
    replayed  what the network answered here; None after the frame that is asked about
    """

    number: int
    request: Request
    prompted: bool
    recorded: RecordedAnswer
    replayed: TrackedFrame | None

    def recorded_mask(self, object_id: int) -> NDArray[np.bool_] | None:
        """The mask (H, W) that the server answered with; None where none was asked for."""
        return None if self.recorded.rles is None else rle.decode(self.recorded.rles[self.recorded.object_ids.index(object_id)])


@dataclass(frozen=True, eq=False)
class Replayed:
    """moments: all answers about the object, in the order of their requests; asked: those on the frame that is asked about, and how they came about.
    frames: the newest request of each frame up to then."""

    moments: list[Moment]
    asked: list[tuple[Moment, Foreseen]]
    frames: dict[int, Request]

    def picture(self, frame: int) -> NDArray[np.uint8] | None:
        """The frame (H, W, 3) as it was sent; None where the recording begins after it."""
        return picture(self.frames[frame]) if frame in self.frames else None

    def mask(self, frame: int, object_id: int, before: Moment) -> NDArray[np.bool_] | None:
        """The object's mask (H, W) on the frame, as it was when `before` came about; None where it has none that was replayed."""
        masks = [one.replayed for one in self.moments if one.number < before.number and one.recorded.frame_index == frame]
        return masks[-1].mask(object_id) if masks and masks[-1] is not None else None


class Step(NamedTuple):
    """A request that was answered. `number`: its place in the recording, from 0."""

    number: int
    request: Request
    answer: RecordedAnswer

    def answers(self, object_id: int, frame: int) -> bool:
        """Whether it is about the object on that frame."""
        return object_id in self.answer.object_ids and self.answer.frame_index == frame


class Found(NamedTuple):
    """The recording that is meant, and what was answered in it."""

    recording: Recording
    steps: Sequence[Step]


def found(recordings: Sequence[Recording], object_id: int, frame: int, video: str | None) -> Found:
    """The last recording with an answer about the object on that frame; or that of the video `video`.

    Raises ExplainError that says which objects, frames and videos there are.
    """
    named = [one for one in recordings if video in (None, *(str(exchange.request.video_id) for exchange in one.exchanges))]
    if not named:
        known = (exchange.request.video_id for one in recordings for exchange in one.exchanges)
        raise ExplainError(f"the recording has no video {video!r}. Its videos: {_listed(known)}.")
    each = [Found(one, _steps(one)) for one in named]
    steps = [step for one in each for step in one.steps]
    about = [step.answer.frame_index for step in steps if object_id in step.answer.object_ids]
    if not about:
        objects = sorted({known for step in steps for known in step.answer.object_ids})
        raise ExplainError(f"object {object_id} is in no answer of the recording. Its objects: {_listed(objects)}.")
    if frame not in about:
        raise ExplainError(f"object {object_id} has no answer on frame {frame}. It has them on frames {ranges(about)}.")
    return [one for one in each if any(step.answers(object_id, frame) for step in one.steps)][-1]


def _steps(recording: Recording) -> list[Step]:
    return [Step(number, one.request, one.answer) for number, one in enumerate(recording.exchanges) if one.answer is not None]


def replayed(steps: Sequence[Step], object_id: int, frame: int, server: InProcess, say: Callable[[str], None]) -> Replayed:
    """Sends a video's requests again, up to its last answer about the object on the frame. `say` gets progress. Raises ExplainError."""
    last = max(step.number for step in steps if step.answers(object_id, frame))
    due = [step for step in steps if step.number <= last and _has_effect(step.request)]
    made = Replayed([], [], {})
    stream = server.open_stream({})
    for done, step in enumerate(due, 1):
        try:
            _replay(step, object_id, frame, server, stream, made)
        except MaskletError as error:
            raise ExplainError(
                f"request {step.number}, for frame {step.answer.frame_index}, was answered when it was recorded, but not here: {error}"
            ) from error
        if 10 * done // len(due) != 10 * (done - 1) // len(due):
            say(f"replayed {done} of {len(due)} requests")
    later = [step for step in steps if step.number > last and object_id in step.answer.object_ids]
    made.moments.extend(Moment(step.number, step.request, _prompts(step.request, object_id), step.answer, None) for step in later)
    return made


def _replay(step: Step, object_id: int, frame: int, server: InProcess, stream: MockStream, made: Replayed) -> None:
    """Sends one request, and adds what came of it. Raises MaskletError."""
    request, about = _as_asked(step.request), object_id in step.answer.object_ids
    how = server.foreseen(request, object_id) if step.answers(object_id, frame) else None
    result = _sent(stream, request)
    if has_frame(request):
        made.frames[result.frame_index] = request
    if about:
        made.moments.append(Moment(step.number, request, _prompts(request, object_id), step.answer, result))
    if how is not None:
        made.asked.append((made.moments[-1], how))


def _sent(stream: MockStream, request: Request) -> TrackedFrame:
    """The answer to a request. Raises MaskletError."""
    stream.send(request)
    event = stream.poll()
    stream.advance()
    if isinstance(event, Refusal):
        raise from_server(event.text)
    assert isinstance(event, Answer)
    return results.read(event.tensors, Options.parse(request.parameters), None)


def _as_asked(request: Request) -> Request:
    """The request, with masks in its answer and nothing else that a frame does not need; and the video lives on."""
    if not has_frame(request):
        return replace(request, end=False)
    wanted = {name: value for name, value in request.parameters.items() if name not in ("logits", "snapshot")}
    return replace(request, parameters={**wanted, "masks": "rle"}, end=False)


def _has_effect(request: Request) -> bool:
    """Whether a request changes its video: signs of life, snapshots and the end do not."""
    return request.start or has_frame(request) or bool(_items(request))


def _items(request: Request) -> list[Mapping[str, Any]]:
    """PROMPTS."""
    return json.loads(request.tensors["PROMPTS"].flat[0]) if "PROMPTS" in request.tensors else []


def _prompts(request: Request, object_id: int) -> bool:
    return any(item["object"] == object_id for item in _items(request))


def ranges(numbers: Iterable[int]) -> str:
    """Numbers for people: 0 to 9, 12, 20 to 31."""
    parts: list[list[int]] = []
    for number in sorted(set(numbers)):
        if parts and number == parts[-1][1] + 1:
            parts[-1][1] = number
        else:
            parts.append([number, number])
    return ", ".join(str(first) if first == last else f"{first} to {last}" for first, last in parts)


def _listed(names: Iterable[object]) -> str:
    return ", ".join(map(str, dict.fromkeys(names))) or "none"

"""Turns the calls of an official predictor into what a live video can say, and sends it.

The official predictor holds the whole clip and may go back at any time. A live video travels one way and keeps a bounded memory. So a scenario
becomes one or more plays: the main one, and one for each place where the official calls go back to correct a frame that was tracked long ago.
What no play can say is left out by name, together with everything that depends on it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from masklet.results import TrackedFrame
from masklet.tracker import Tracker
from masklet.video import Video
from tests.golden.scenarios import Scenario

OTHER_OBJECTS = "what a prompt call returned for the other objects (a repetition)"
DISCARDED = "correction of a prompted frame after tracking (the official predictor computes it and throws it away)"
LATE = "correction of a frame that a live video has left behind (replayed on its own, up to that frame)"
AFTER_LATE = "frames that follow a correction which a live video cannot make so late"
FORGOTTEN = "frames that read memories which a live video has forgotten (it turned round)"
AHEAD = "frames before the object's first prompt, in the direction of travel"


@dataclass(frozen=True)
class Request:
    """One request of a play. `prompts` are indices of steps, `expected` maps an object to the key of the record that it must equal."""

    frame: int
    options: Mapping[str, Any] = field(default_factory=dict)
    prompts: Sequence[int] = ()
    remove: int | None = None
    expected: Mapping[int, str] = field(default_factory=dict)


@dataclass
class _Object:
    """Where an object's memories are: all that the official predictor holds, and what a live video holds of them."""

    prompted: set[int] = field(default_factory=set)
    passed: set[int] = field(default_factory=set)  # frames that propagation has visited
    official: set[int] = field(default_factory=set)  # tracked frames whose memory exists
    memories: set[int] = field(default_factory=set)
    pointers: set[int] = field(default_factory=set)
    lost: str | None = None  # why nothing more can be compared

    def advance(self, frame: int, direction: int) -> None:
        """What a live video forgets when `frame` arrives (MemoryPolicy.keeps of masklet_bank)."""
        self.memories = {past for past in self.memories if 0 < direction * (frame - past) < 7}
        self.pointers = {past for past in self.pointers if 0 < direction * (frame - past) < 16}

    def reads_all(self, frame: int, direction: int) -> bool:
        """Whether the live video still holds everything that the official predictor reads for `frame`."""
        wanted = [(distance, frame - direction * distance) for distance in range(1, 16)]
        return all(past in self.pointers and (distance > 6 or past in self.memories) for distance, past in wanted if past in self.official)


class Planner:
    """Walks through the steps of a scenario and writes the plays.

    plays     lists of requests; the first is the main one
    left_out  key of a record -> why it is in no play
    """

    def __init__(self, scenario: Scenario) -> None:
        self._scenario = scenario
        self._objects: dict[int, _Object] = {}
        self._direction = 1
        self._travelled = False
        self._late: dict[int, list[Request]] = {}  # length of the main play before -> corrections
        self.main: list[Request] = []
        self.left_out: dict[str, str] = {}
        for number, step in enumerate(scenario.steps):
            getattr(self, f"_{step['op']}")(number, step)
        planned = {key for play in self.plays for request in play for key in request.expected.values()}
        for record in scenario.records:
            if record.key not in planned:
                self.left_out.setdefault(record.key, OTHER_OBJECTS if record.kind == "other" else AFTER_LATE)

    @property
    def plays(self) -> list[list[Request]]:
        """All plays, the main one first."""
        return [self.main, *([*map(_silent, self.main[:length]), *corrections] for length, corrections in sorted(self._late.items()))]

    def _points(self, number: int, step: dict[str, Any]) -> None:
        self._prompt(number, step)

    def _box(self, number: int, step: dict[str, Any]) -> None:
        self._prompt(number, step)

    def _mask(self, number: int, step: dict[str, Any]) -> None:
        self._prompt(number, step)

    def _remove(self, number: int, step: dict[str, Any]) -> None:
        del self._objects[step["object"]]
        self.main.append(Request(self.main[-1].frame, remove=step["object"]))

    def _prompt(self, number: int, step: dict[str, Any]) -> None:
        frame, object_id = step["frame"], step["object"]
        known = self._objects.setdefault(object_id, _Object())
        (key,) = (record.key for record in self._scenario.records if record.step == number and record.kind == "prompt")
        request = Request(frame, prompts=[number], expected={object_id: key})
        if known.lost:
            self.left_out[key] = known.lost
        elif frame not in known.passed:
            self._first_prompt(known, request)
        elif frame in known.prompted:
            self.left_out[key] = DISCARDED
        elif self.main[-1].frame == frame:
            self.main.append(_with(request, refine=True))
        else:
            self._late.setdefault(self._last_request(frame) + 1, []).append(_with(request, refine=True))
            known.lost = AFTER_LATE

    def _first_prompt(self, known: _Object, request: Request) -> None:
        for kept in (known.official, known.memories, known.pointers):
            kept.discard(request.frame)
        known.prompted.add(request.frame)
        self._travelled = False
        self.main.append(_with(request, track=False, frame_index=request.frame))

    def _last_request(self, frame: int) -> int:
        return max(index for index, request in enumerate(self.main) if request.frame == frame)

    def _propagate(self, number: int, step: dict[str, Any]) -> None:
        direction = -1 if step["reverse"] else 1
        for frame in self._visited(step):
            if self._travelled and (direction != self._direction or direction * (frame - self.main[-1].frame) <= 0):
                self.main.append(Request(frame, {"track": False, "frame_index": frame}))  # leave to turn round
            expected = dict(self._tracked(number, frame, direction))
            self.main.append(Request(frame, {"frame_index": frame, "reverse": step["reverse"]}, expected=expected))
            self._direction, self._travelled = direction, True

    def _visited(self, step: dict[str, Any]) -> range:
        last = self._scenario.meta["clip"]["frames"] - 1
        prompted = [frame for known in self._objects.values() for frame in known.prompted]
        start = min(prompted) if step["start"] is None else step["start"]
        count = last if step["max_frames"] is None else step["max_frames"]
        return range(start, max(start - count, 0) - 1, -1) if step["reverse"] else range(start, min(start + count, last) + 1)

    def _tracked(self, number: int, frame: int, direction: int) -> Iterator[tuple[int, str]]:
        """The records of one visited frame that a live video can give; moves the objects on."""
        keys = {record.object_id: record.key for record in self._scenario.records if (record.step, record.frame) == (number, frame)}
        for object_id, known in self._objects.items():
            known.advance(frame, direction)
            if frame not in known.prompted and not known.lost:
                known.lost = None if known.reads_all(frame, direction) else FORGOTTEN
            began = any(direction * (frame - prompted) >= 0 for prompted in known.prompted)
            if known.lost or not began:
                self.left_out[keys[object_id]] = known.lost or AHEAD
            else:
                yield object_id, keys[object_id]
            known.passed.add(frame)
            if frame not in known.prompted:
                for kept in (known.official, known.memories, known.pointers):
                    kept.add(frame)


def _with(request: Request, **options: Any) -> Request:
    return replace(request, options=options)


def _silent(request: Request) -> Request:
    return replace(request, expected={})


def play(tracker: Tracker, scenario: Scenario, requests: Sequence[Request]) -> Iterator[tuple[Request, TrackedFrame]]:
    """Sends a play as one video; gives each request that was answered with a frame."""
    frames = scenario.frames()
    with tracker.open() as video:
        for request in requests:
            if request.remove is not None:
                video.remove(request.remove)
                continue
            for number in request.prompts:
                _prompt(video, scenario, number)
            yield request, video.track(frames[request.frame], logits=True, **request.options)


def _prompt(video: Video, scenario: Scenario, number: int) -> None:
    step = scenario.steps[number]
    if step["op"] == "mask":
        video.prompt(step["object"], mask=scenario.prompt_mask(number))
    else:
        append = not step.get("clear_old_points", True)
        video.prompt(step["object"], points=step.get("points"), labels=step.get("labels"), box=step.get("box"), append=append)

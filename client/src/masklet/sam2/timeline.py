"""One live video on the server, and every moment it has been in: the way back to any of them.

A live video travels one way and remembers little; the official predictor goes anywhere at any time. So each request is noted, with what the server
holds after it. To be in an earlier moment again, the requests that led to it are sent once more, from the newest snapshot before it.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from masklet.errors import MaskletError, VideoLost
from masklet.results import TrackedFrame
from masklet.sam2.frames import Frames
from masklet.sam2.outputs import MEMORIES, POINTERS, Call, Output, behind
from masklet.tracker import Tracker
from masklet.video import Video

_KEPT_ANSWERS = 64  # newest answers whose logits are kept
_KEPT_SNAPSHOTS = 16
_EVERY = 16  # tracked frames between snapshots, at first


@dataclass(frozen=True)
class Held:
    """What the server holds of one object: conditioning frames, the memories and pointers of tracked ones, and its newest answer."""

    cond: Mapping[int, Output] = field(default_factory=dict)
    memories: Mapping[int, Output] = field(default_factory=dict)
    pointers: Mapping[int, Output] = field(default_factory=dict)
    last: Output | None = None

    def prompted(self, frame: int, output: Output) -> Held:
        """After a prompt on a frame that was not tracked."""
        memories, pointers = ({at: one for at, one in held.items() if at != frame} for held in (self.memories, self.pointers))
        return Held({**self.cond, frame: output}, memories, pointers, output)

    def remembered(self, frame: int, output: Output) -> Held:
        """After tracking, or the correction of a tracked frame."""
        return Held(self.cond, {**self.memories, frame: output}, {**self.pointers, frame: output}, output)

    def travelled(self, frame: int, direction: int) -> Held:
        """As `frame` arrives: what is out of reach is forgotten."""
        return replace(self, memories=behind(self.memories, frame, direction, MEMORIES), pointers=behind(self.pointers, frame, direction, POINTERS))


@dataclass(frozen=True)
class Prompt:
    """A prompt; `refine` of the frame just tracked, else before tracking."""

    frame: int
    object_id: int
    call: Call
    refine: bool

    def send(self, video: Video, frames: Frames, *, snapshot: bool) -> TrackedFrame | None:
        """Sends it."""
        self.call.give(video, self.object_id)
        if self.refine:
            return video.track(frames[self.frame], logits=True, masks="none", refine=True)
        return video.track(frames[self.frame], logits=True, masks="none", track=False, frame_index=self.frame)


@dataclass(frozen=True)
class Track:
    """Tracks all objects into a frame. `turns`: the video leaves its way first, by a request that tracks nothing."""

    frame: int
    direction: int
    turns: bool

    def send(self, video: Video, frames: Frames, *, snapshot: bool) -> TrackedFrame | None:
        """Sends it."""
        if self.turns:
            video.track(frames[self.frame], masks="none", track=False, frame_index=self.frame)
        return video.track(frames[self.frame], logits=True, masks="none", snapshot=snapshot, frame_index=self.frame, reverse=self.direction < 0)


@dataclass(frozen=True)
class Remove:
    """Forgets an object."""

    object_id: int

    def send(self, video: Video, frames: Frames, *, snapshot: bool) -> TrackedFrame | None:
        """Sends it."""
        video.remove(self.object_id)
        return None


@dataclass(eq=False)
class Moment:
    """The video after a request.

    frame, direction, travelled  where it stands, and whether it tracked since prompts were given last; as the server has them
    tracked                      how many frames were tracked on the way here
    state                        a snapshot, where one is kept
    """

    before: Moment | None = None
    request: Prompt | Track | Remove | None = None
    objects: Mapping[int, Held] = field(default_factory=dict)
    frame: int | None = None
    direction: int = 1
    travelled: bool = False
    tracked: int = 0
    state: bytes | None = None


class Timeline:
    """The video of one inference state. One that the server has forgotten is begun again, and brought to where it stood."""

    def __init__(self, tracker: Tracker, frames: Frames) -> None:
        self._tracker, self._frames = tracker, frames
        self._video: Video | None = None
        self.reset()

    def reset(self) -> None:
        """Forgets all, and ends the video on the server."""
        self.close()
        self.now = Moment()
        self._moments = [self.now]
        self._lows: OrderedDict[Moment, dict[int, NDArray[np.float32]]] = OrderedDict()
        self._snapshots: list[Moment] = []
        self._every = _EVERY

    def close(self) -> None:
        """Ends the video on the server, if there is one."""
        video, self._video = self._video, None
        if video is not None:
            with suppress(MaskletError):  # it is not needed any more
                video.close()

    def find(self, fits: Callable[[Moment], bool]) -> Moment | None:
        """The present moment if it fits, else the newest one that does."""
        return next((moment for moment in (self.now, *reversed(self._moments)) if fits(moment)), None)

    def go(self, moment: Moment, *, answered: bool = False) -> None:
        """Brings the video to a moment. `answered`: its request is sent again in any case, for its answer."""
        way: list[Moment] = []
        at = moment
        while at.before is not None and ((answered and at is moment) or not (at.state or self._in(at))):
            way.append(at)
            at = at.before
        if not self._in(at):
            self.close()
            self._video, self.now = self._tracker.open(state=at.state), at
        for then in reversed(way):
            self._send(then)

    def prompt(self, frame: int, object_id: int, call: Call, *, refine: bool) -> Output:
        """Gives a prompt now: without memory, or with `refine` to correct the frame just tracked."""
        now, held = self.now, self.now.objects.get(object_id, Held())
        before = held.cond.get(frame)
        output = Output() if refine else Output((*(before.calls if before else ()), call))
        after = held.remembered(frame, output) if refine else held.prompted(frame, output)
        moment = Moment(
            now, Prompt(frame, object_id, call, refine), {**now.objects, object_id: after}, frame, now.direction, now.travelled and refine
        )
        moment.tracked = now.tracked
        self._add(moment, [output])
        output.low = self.low(output, object_id).copy()
        return output

    def track(self, frame: int, direction: int) -> dict[int, Output]:
        """Tracks all objects into a frame, now. Gives their outputs."""
        now, made, objects = self.now, {}, {}
        turns = now.frame is not None and now.travelled and (direction != now.direction or direction * (frame - now.frame) <= 0)
        for object_id, held in now.objects.items():
            kept = held.travelled(frame, direction)
            if frame in held.cond:
                objects[object_id] = replace(kept, last=held.cond[frame])
                made[object_id] = held.cond[frame]
            else:
                made[object_id] = Output()
                objects[object_id] = kept.remembered(frame, made[object_id])
        moment = Moment(now, Track(frame, direction, turns), objects, frame, direction, True, now.tracked + 1)
        self._add(moment, [output for output in made.values() if output.moment is None])
        return made

    def remove(self, object_id: int) -> None:
        """Forgets an object, now."""
        now = self.now
        objects = {other: held for other, held in now.objects.items() if other != object_id}
        self._add(replace(now, before=now, request=Remove(object_id), objects=objects, state=None), [])

    def low(self, output: Output, object_id: int) -> NDArray[np.float32]:
        """The logits (L, L) of an output; where they are not kept, the video goes back to where it had them."""
        if output.low is not None:
            return output.low
        if output.moment not in self._lows:
            self.go(output.moment, answered=True)
        return self._lows[output.moment][object_id]

    def _in(self, moment: Moment) -> bool:
        return self._video is not None and self.now is moment

    def _add(self, moment: Moment, outputs: list[Output]) -> None:
        try:
            self.go(self.now)
            self._send(moment)
        except VideoLost:  # a script may think for longer than a server remembers
            self.go(self.now)
            self._send(moment)
        self._moments.append(moment)
        for output in outputs:
            output.moment = moment

    def _send(self, moment: Moment) -> None:
        assert self._video is not None
        assert moment.request is not None
        wanted = isinstance(moment.request, Track) and moment.state is None and moment.tracked % self._every == 0
        try:
            answer = moment.request.send(self._video, self._frames, snapshot=wanted)
        except BaseException:
            self.close()
            raise
        self.now = moment
        if answer is not None and answer.logits is not None:
            self._lows[moment] = dict(zip(answer.object_ids, answer.logits, strict=True))
            if len(self._lows) > _KEPT_ANSWERS:
                self._lows.popitem(last=False)
        if wanted and answer is not None:
            self._keep(moment, answer.snapshot)

    def _keep(self, moment: Moment, state: bytes | None) -> None:
        """Keeps a snapshot; of too many every other one goes, and from then on there are half as many."""
        moment.state = state
        self._snapshots.append(moment)
        if len(self._snapshots) > _KEPT_SNAPSHOTS:
            for spare in self._snapshots[::2]:
                spare.state = None
            self._snapshots = self._snapshots[1::2]
            self._every *= 2

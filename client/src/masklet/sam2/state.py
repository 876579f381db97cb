"""An inference state: a video, its objects, and the server's live video that answers for them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from masklet.sam2.frames import Frames
from masklet.sam2.masks import video_logits
from masklet.sam2.outputs import MEMORIES, POINTERS, Call, Object, Output
from masklet.sam2.timeline import Held, Moment, Timeline
from masklet.tracker import Tracker


class InferenceState:
    """What `init_state` returns. Of the official keys it has "num_frames", "video_height", "video_width" and "obj_ids"."""

    def __init__(self, tracker: Tracker, frames: Frames, *, exclusive: bool, prompted_frames: int) -> None:
        self.frames, self.exclusive = frames, exclusive
        self._prompted_frames = prompted_frames  # of an object that the server remembers; 0: all
        self.objects: dict[int, Object] = {}
        self.obj_ids: list[int] = []
        self.timeline = Timeline(tracker, frames)

    def __getitem__(self, key: str) -> Any:
        height, width = self.frames.size
        known = {"num_frames": self.frames.count, "video_height": height, "video_width": width, "obj_ids": self.obj_ids}
        if key not in known:
            raise KeyError(f"{key!r}: the inference state is on the server; here it has {', '.join(known)}.")
        return known[key]

    def object(self, obj_id: int, new: Object | None = None) -> Object:
        """An object; `new`, or an empty one, where nobody knew it."""
        if obj_id not in self.objects:
            self.objects[obj_id] = new or Object()
            self.obj_ids.append(obj_id)
        return self.objects[obj_id]

    def input(self, obj_id: int, frame: int) -> Call | None:
        """The prompt that an object has on a frame."""
        return self.objects[obj_id].inputs.get(frame) if obj_id in self.objects else None

    def forget(self, obj_id: int | None = None) -> None:
        """One object, or all of them and the video on the server."""
        if obj_id is not None:
            del self.objects[obj_id]
        else:
            self.objects.clear()
            self.timeline.reset()
        self.obj_ids[:] = list(self.objects)

    def check(self, frame: int) -> None:
        """Raises IndexError where the video has no such frame."""
        if not 0 <= frame < self.frames.count:
            raise IndexError(f"frame {frame}: the video has the frames 0 to {self.frames.count - 1}.")

    def prompted(self, frame: int, obj_id: int, call: Call) -> bool:
        """Gives a complete prompt to an object. Whether its answer is a conditioning one. Raises NotImplementedError and what the client raises."""
        self.check(frame)
        one = self.objects.get(obj_id, Object())
        first = frame not in one.tracked
        made = self._first(frame, obj_id, one, call) if first else self._corrected(frame, obj_id, one, call)
        self.object(obj_id, one)  # known only now: the server has not refused it
        one.inputs[frame] = call
        one.temp[first][frame] = made
        return first

    def _first(self, frame: int, obj_id: int, one: Object, call: Call) -> Output:
        """A prompt on a frame that was not tracked: without memory, seeing the mask that prompts made there (sam2_video_predictor.py:247-278)."""
        if 0 < self._prompted_frames < len({frame, *one.cond, *one.temp[True]}):
            raise NotImplementedError(
                f"object {obj_id} is prompted on {self._prompted_frames} frames already. The official predictor remembers them all; this server "
                "keeps so many (memory_bank.max_conditioning). Clear the prompts of a frame, or correct a tracked one instead."
            )
        before = one.output(frame, conditioning=True)
        calls = (*(before.calls if before else ()), call)

        def begun(moment: Moment) -> bool:
            return _given(moment.objects.get(obj_id, Held()), frame, calls[:-1]) is not None

        base = self.timeline.find(begun)
        assert base is not None, "the beginning always fits"
        self.timeline.go(base)
        return self._give(frame, obj_id, calls)

    def _give(self, frame: int, obj_id: int, calls: tuple[Call, ...]) -> Output:
        """Sends what of these calls was not sent yet. Gives the last output."""
        given = _given(self.timeline.now.objects.get(obj_id, Held()), frame, calls)
        made = [self.timeline.prompt(frame, obj_id, call, refine=False) for call in calls[given:]]
        return made[-1]

    def _corrected(self, frame: int, obj_id: int, one: Object, call: Call) -> Output:
        """A prompt on a tracked frame: with the memory that it was tracked with."""
        if frame in one.cond:
            raise NotImplementedError(
                f"object {obj_id} was prompted on frame {frame} before it was tracked there. The official predictor computes an answer to another "
                "prompt and throws it away when tracking goes on. Call clear_all_prompts_in_frame or reset_state and prompt anew."
            )
        before, direction = one.output(frame, conditioning=False), one.tracked[frame]
        wanted = [one.behind(frame, direction, reach) for reach in (MEMORIES, POINTERS)]

        def there(moment: Moment) -> bool:
            held = moment.objects.get(obj_id)
            if held is None or (moment.frame, moment.direction) != (frame, direction) or held.last is not before:
                return False
            return _equal(held.cond, one.cond) and _looks_back(held, frame, direction) == wanted

        base = self.timeline.find(there)
        if base is None:
            raise NotImplementedError(
                f"object {obj_id} cannot be corrected on frame {frame}: its memories there are of several passes over the video by now, or it was "
                "prompted on another frame since. Propagate through this frame first, then correct it."
            )
        self.timeline.go(base)
        return self.timeline.prompt(frame, obj_id, call, refine=True)

    def tracked(self, frame: int, direction: int) -> list[Output]:
        """Tracks all objects into a frame, with the memories that the official predictor reads there. Raises NotImplementedError, IndexError."""
        self.check(frame)
        base = self.timeline.find(lambda moment: self._ready(moment, frame, direction))
        if base is None:
            raise NotImplementedError(
                f"frame {frame} cannot be tracked {'forward' if direction > 0 else 'in reverse'}: the official predictor reads memories there that "
                "several passes over the video made (the other way, or a correction further back); the server holds those of one. Start where the "
                "first pass started, or right after a correction; or prompt again, after reset_state or in a second state, and track this way first."
            )
        self.timeline.go(base)
        for obj_id in set(base.objects) - set(self.objects):
            self.timeline.remove(obj_id)
        for obj_id, one in self.objects.items():
            for at, output in one.cond.items():
                if _given(self.timeline.now.objects.get(obj_id, Held()), at, output.calls) != len(output.calls):
                    self._give(at, obj_id, output.calls)
        made = self.timeline.track(frame, direction)
        for obj_id, one in self.objects.items():
            if frame not in one.cond:
                one.non[frame] = made[obj_id]
            one.tracked[frame] = direction
        return [one.cond.get(frame) or one.non[frame] for one in self.objects.values()]

    def _ready(self, moment: Moment, frame: int, direction: int) -> bool:
        """Whether the server, once it also has the prompts that are missing, holds what tracking on this frame and those after it reads."""
        for obj_id, one in self.objects.items():
            held = moment.objects.get(obj_id, Held())
            if any(at not in one.cond or _given(held, at, one.cond[at].calls) is None for at in held.cond):
                return False
            for at, output in one.cond.items():
                held = held.prompted(at, output)
            if _looks_back(held, frame, direction) != [one.behind(frame, direction, reach) for reach in (MEMORIES, POINTERS)]:
                return False
        return True

    def logits(self, outputs: list[Output | None]) -> Any:
        """(N, 1, H, W) at the size of the video, of all objects in order; None: no output."""
        lows = [self.timeline.low(output, obj_id) if output else None for obj_id, output in zip(self.obj_ids, outputs, strict=True)]
        return video_logits(lows, self.frames.size, exclusive=self.exclusive)

    def shown(self, frame: int, *, conditioning: bool) -> Any:
        """The newest logits of all objects on a frame, as a prompt call returns them."""
        return self.logits([one.output(frame, conditioning=conditioning) for one in self.objects.values()])


def _given(held: Held, frame: int, calls: tuple[Call, ...]) -> int | None:
    """How many of these calls the server has had on a frame; None where it had others."""
    had = held.cond[frame].calls if frame in held.cond else ()
    return len(had) if had == calls[: len(had)] else None


def _equal(one: Mapping[int, Output], other: Mapping[int, Output]) -> bool:
    return one.keys() == other.keys() and all(output.same(other[frame]) for frame, output in one.items())


def _looks_back(held: Held, frame: int, direction: int) -> list[dict[int, Output]]:
    seen = held.travelled(frame, direction)
    return [dict(seen.memories), dict(seen.pointers)]

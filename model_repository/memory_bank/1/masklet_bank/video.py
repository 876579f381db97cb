"""One live video: its objects, where it stands, and what a request does to it.

A request is planned first, which changes nothing and may refuse; then its jobs run through the engines, together with those of other videos;
then the plan is committed. A request that fails anywhere leaves the video as it was.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from masklet.errors import BadFrameIndex, BadPrompt, TooManyObjects, UnknownObject
from masklet.families import Family
from masklet.wire import Options
from masklet_bank.bank import Answer, ObjectBank
from masklet_bank.ledger import Footprint
from masklet_bank.plan import ObjectPlan, exclude, plan_object
from masklet_bank.prompts import Prompt
from masklet_bank.step import Frame, Job

_LAST_INDEX = 2**63 - 1  # FRAME_INDEX is INT64


@dataclass(frozen=True)
class Limits:
    """Limits of one video, set in the server's config.

    max_conditioning: prompted frames kept per object of those that tracking has passed, 0 for no limit; a limit is at least 2, as the official rule
    of choice needs. What lies ahead is kept beyond that, as long as the objects of the video together have no more than all at their limit.
    """

    max_objects: int
    max_points: int
    max_conditioning: int

    @property
    def max_prompted(self) -> int:
        """Prompted frames that the objects of one video have together at most; 0 for no limit."""
        return self.max_objects * self.max_conditioning


@dataclass
class FramePlan:
    """What a request does to its video: on which frame, travelling which way, to which objects; `removed` ones are forgotten first.

    travels   whether the frame is tracked, so that frames lie behind it
    evicted   how many earlier prompted frames the commit made ordinary
    """

    frame: int
    direction: int
    options: Options
    objects: list[ObjectPlan]
    removed: dict[int, ObjectBank]
    travels: bool
    evicted: int = 0

    @property
    def jobs(self) -> list[Job]:
        """What the engines have to compute."""
        return [plan.job for plan in self.objects if plan.job is not None]

    def growth(self, object_bytes: Callable[[int], int]) -> int:
        """Bytes that the video will need beyond those of its objects so far (ObjectBank.grown), if the request succeeds."""
        freed = sum(bank.grown(object_bytes) for bank in self.removed.values())
        return sum(plan.growth(self.frame, self.direction, object_bytes, travels=self.travels) for plan in self.objects) - freed


class Video:
    """One live video.

    frame       index of the frame answered last; None before the first
    direction   +1 or -1: the way it travels
    travelled   whether a frame was tracked since prompts were last given ahead of tracking (`track=False`)
    """

    def __init__(self, family: Family, limits: Limits, owner: str | None) -> None:
        self.family = family
        self.limits = limits
        self.owner = owner
        self.objects: dict[int, ObjectBank] = {}
        self.frame: int | None = None
        self.direction = 1
        self.travelled = False

    def footprint(self, object_bytes: Callable[[int], int]) -> Footprint:
        """What the video takes, if an object with so many prompted frames grows to `object_bytes`."""
        sizes = [bank.nbytes() for bank in self.objects.values()]
        grown = [bank.grown(object_bytes) for bank in self.objects.values()]
        return Footprint(len(sizes), sum(sizes), sum(map(max, sizes, grown)))

    def saved(self) -> Mapping[str, object]:
        """What `restore` needs to make the video what it is now. Arrays are never written to, so none is copied."""
        return {**vars(self), "objects": {object_id: bank.copy() for object_id, bank in self.objects.items()}}

    def restore(self, saved: Mapping[str, object]) -> None:
        """Undoes everything since `saved`."""
        vars(self).update(saved)

    def remove(self, prompts: list[Prompt]) -> None:
        """A control request: forgets objects. Raises UnknownObject before any is forgotten."""
        for object_id in self._removed(prompts):
            del self.objects[object_id]

    def plan(self, prompts: list[Prompt], options: Options, frame: Frame) -> FramePlan:
        """Decides what this request computes. Changes nothing. Raises a RequestError that says what is wrong with it."""
        index, direction = self._next(options)
        removed = {object_id: self.objects[object_id] for object_id in self._removed(prompts)}
        prompted = {prompt.object_id: prompt for prompt in prompts if not prompt.remove}
        banks = {object_id: bank for object_id, bank in self.objects.items() if object_id not in removed}
        for object_id, prompt in prompted.items():
            if object_id not in banks and not prompt.gives:
                raise UnknownObject(f"object {object_id} is not in this video, so nothing of it can be cleared. Prompt it first.")
            banks.setdefault(object_id, ObjectBank(self.family, self.limits.max_conditioning))
        self._check_count(len(banks))
        plans = (
            plan_object(object_id, bank, prompted.get(object_id), options, index, direction, frame, self.limits.max_points)
            for object_id, bank in banks.items()
        )
        planned = {object_id: plan for object_id, plan in zip(banks, plans, strict=True) if plan is not None}
        if self.family.exclusive_prompts:
            planned = exclude(planned, banks, index, frame)
        travels = self.travelled if options.refine else options.track
        self._check_prompted(banks, planned, index, direction, travels)
        return FramePlan(index, direction, options, list(planned.values()), removed, travels)

    def commit(self, plan: FramePlan) -> list[tuple[int, Answer]]:
        """Writes the results of a plan whose jobs all ran. Returns the objects that are in the answer, in prompt order."""
        for object_id in plan.removed:
            del self.objects[object_id]
        if plan.options.track and not plan.options.refine:
            for bank in self.objects.values():
                bank.advance(plan.frame, plan.direction)
            self.direction = plan.direction
        self.travelled = plan.travels
        self.frame = plan.frame
        answers = []
        for planned in plan.objects:
            self.objects.setdefault(planned.object_id, planned.bank)
            answer = planned.commit(plan.frame)
            if answer is not None:
                answers.append((planned.object_id, answer))
            if not planned.bank.conditioning:  # its only prompts were cleared: nothing to track it by
                del self.objects[planned.object_id]
        if self.travelled:  # before, everything may lie ahead
            plan.evicted = sum(bank.evict(plan.frame, plan.direction) for bank in self.objects.values())
        return answers

    def _removed(self, prompts: list[Prompt]) -> list[int]:
        removed = [prompt.object_id for prompt in prompts if prompt.remove]
        for object_id in removed:
            if object_id not in self.objects:
                known = ", ".join(map(str, self.objects)) or "none"
                raise UnknownObject(f"object {object_id} is not in this video, so it cannot be removed. Its objects: {known}.")
        return removed

    def _check_count(self, count: int) -> None:
        if count > self.limits.max_objects:
            raise TooManyObjects(
                f"{count} objects in one video; this server allows {self.limits.max_objects}. "
                "Remove objects, or open a second video for the others: objects do not influence one another."
            )

    def _check_prompted(self, banks: Mapping[int, ObjectBank], planned: Mapping[int, ObjectPlan], index: int, direction: int, travels: bool) -> None:
        """Whether there is room for the frames that become conditioning ones. `travels`: what the request leaves behind can make room."""
        added = {object_id for object_id, plan in planned.items() if plan.conditions and index not in banks[object_id].conditioning}
        if not added or not self.limits.max_conditioning:
            return
        kept = len(added) + sum(len(bank.conditioning) for bank in banks.values())
        if travels:
            kept -= sum(len(bank.overdue(index, direction, [index] * (object_id in added))) for object_id, bank in banks.items())
        if kept > self.limits.max_prompted:
            raise BadPrompt(
                f"with frame {index} the objects of this video would be prompted on {kept} frames that are still needed; this server keeps "
                f"{self.limits.max_prompted} per video. Track past some of them first, remove objects, or open a second video for the others."
            )

    def _next(self, options: Options) -> tuple[int, int]:
        """Frame index and direction of this request."""
        if options.refine:
            return self._refined(options), self.direction
        direction = -1 if options.reverse else 1
        index = options.frame_index
        if index is None:
            if self.frame is None and options.reverse:
                raise BadFrameIndex("a video that begins in reverse needs frame_index: the index of the frame that it begins with.")
            index = 0 if self.frame is None else self.frame + direction
        if index < 0:
            raise BadFrameIndex("the frame before frame 0 was asked for. A video sent in reverse ends at frame 0; begin with a larger frame_index.")
        if index > _LAST_INDEX:
            raise BadFrameIndex(f"frame {index} was asked for; the last index is {_LAST_INDEX}. Open a new video.")
        if options.track and self.travelled and self.frame is not None:
            self._check_travel(index, direction, self.frame)
        return index, direction

    def _refined(self, options: Options) -> int:
        if self.frame is None:
            raise BadFrameIndex("refine repeats the frame answered last, but no frame was answered yet. Send this frame without refine.")
        if options.frame_index not in (None, self.frame):
            raise BadFrameIndex(f"refine repeats frame {self.frame}, but frame_index is {options.frame_index}. Leave frame_index out.")
        return self.frame

    def _check_travel(self, index: int, direction: int, last: int) -> None:
        if direction == self.direction and direction * (index - last) > 0:
            return
        way = {1: "forward", -1: "in reverse"}
        raise BadFrameIndex(
            f"frame {index} {way[direction]} after frame {last} {way[self.direction]}: a video travels one way, and what lies ahead is forgotten. "
            "Open a new video from a snapshot taken there, or give prompts with track=false first and go on from any frame."
        )

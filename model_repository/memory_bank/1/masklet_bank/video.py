"""One live video: its objects and where it stands; and what a request does to it.

A video is a value. A request is decided first, which changes nothing and may refuse; then its jobs run through the engines, together with those of
other videos; their results make the video that takes this one's place. A request that fails anywhere leaves the video as it was.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np

from masklet.envelope import Prompt
from masklet.errors import BadPrompt, TooManyObjects, UnknownObject
from masklet.wire import Options
from masklet_bank.action import Action, Visit, decide, exclusive, gives
from masklet_bank.bank import Answer, ObjectBank, Result
from masklet_bank.job import Job
from masklet_bank.ledger import Footprint
from masklet_bank.policies.official import MemoryPolicy
from masklet_bank.request import MaskPrompt
from masklet_bank.travel import next_frame

_EMPTY = ObjectBank()
_UNKNOWN = Result(*[np.zeros(0, np.float32)] * 3, score=0.0, iou=0.0)  # what the engines will give


@dataclass(frozen=True)
class VideoLimits:
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


@dataclass(frozen=True, eq=False)
class Video:
    """One live video.

    frame       index of the frame answered last; None before the first
    direction   +1 or -1: the way it travels
    travelled   whether a frame was tracked since prompts were last given ahead of tracking (`track=False`)
    """

    policy: MemoryPolicy
    limits: VideoLimits
    owner: str | None
    objects: Mapping[int, ObjectBank] = field(default_factory=dict)
    frame: int | None = None
    direction: int = 1
    travelled: bool = False

    @property
    def prompted(self) -> int:
        """Prompted frames of all objects together."""
        return sum(len(bank.conditioning) for bank in self.objects.values())

    def footprint(self, object_bytes: Callable[[int], int]) -> Footprint:
        """What the video takes, if an object with so many prompted frames grows to `object_bytes`."""
        sizes = [bank.nbytes() for bank in self.objects.values()]
        grown = [bank.grown(object_bytes) for bank in self.objects.values()]
        return Footprint(len(sizes), sum(sizes), sum(map(max, sizes, grown)))

    def grown(self, object_bytes: Callable[[int], int]) -> int:
        """Bytes that its objects come to (ObjectBank.grown)."""
        return sum(bank.grown(object_bytes) for bank in self.objects.values())

    def removal(self, prompts: Sequence[Prompt]) -> Decision:
        """A control request: forgets objects. Raises UnknownObject."""
        removed = [prompt.object_id for prompt in prompts if prompt.remove]
        for object_id in removed:
            if object_id not in self.objects:
                known = ", ".join(map(str, self.objects)) or "none"
                raise UnknownObject(f"object {object_id} is not in this video, so it cannot be removed. Its objects: {known}.")
        return Decision(frozenset(removed))

    def decision(self, prompts: Sequence[Prompt], masks: Mapping[int, MaskPrompt], options: Options, features: Mapping[str, Any]) -> Decision:
        """Decides what a request for a frame does. Raises a RequestError that says what is wrong with it."""
        frame, direction = next_frame(options, self.frame, self.direction, travelled=self.travelled)
        removed = self.removal(prompts).removed
        prompted = {prompt.object_id: prompt for prompt in prompts if not prompt.remove}
        visit = Visit(frame, direction, options.track, options.refine, features, prompted, masks)
        banks = {object_id: bank for object_id, bank in self.objects.items() if object_id not in removed}
        for object_id, prompt in prompted.items():
            if object_id not in banks and not gives(prompt):
                raise UnknownObject(f"object {object_id} is not in this video, so nothing of it can be cleared. Prompt it first.")
            banks.setdefault(object_id, _EMPTY)
        if len(banks) > self.limits.max_objects:
            raise TooManyObjects(
                f"{len(banks)} objects in one video; this server allows {self.limits.max_objects}. "
                "Remove objects, or open a second video for the others: objects do not influence one another."
            )
        decided = {object_id: decide(visit, object_id, bank, self.policy, self.limits.max_points) for object_id, bank in banks.items()}
        actions = {object_id: action for object_id, action in decided.items() if action is not None}
        if self.policy.family.exclusive_prompts:
            actions = exclusive(actions, banks, visit)
        return Decision(removed, visit, actions)

    def expected(self, decision: Decision) -> Video:
        """The video after a request, but for the arrays that are still to be made. Raises BadPrompt if that is too much."""
        after = decision.outcome(self, [_UNKNOWN] * len(decision.jobs)).video
        if self.limits.max_prompted and after.prompted > self.limits.max_prompted:
            raise BadPrompt(
                f"with frame {after.frame} the objects of this video would be prompted on {after.prompted} frames that are still needed; this server "
                f"keeps {self.limits.max_prompted} per video. Track past some of them first, remove objects, or open a second video for the others."
            )
        return after


class Outcome(NamedTuple):
    """The video after a request, the objects that are in the answer, and how many earlier prompted frames were made ordinary."""

    video: Video
    answers: Sequence[tuple[int, Answer]] = ()
    evicted: int = 0


@dataclass(frozen=True, eq=False)
class Decision:
    """What a request does to its video: objects that are forgotten first, and what it does on a frame, if there is one, to which objects."""

    removed: frozenset[int]
    visit: Visit | None = None
    actions: Mapping[int, Action] = field(default_factory=dict)

    @property
    def jobs(self) -> list[Job]:
        """What the engines have to compute."""
        return [action.job for action in self.actions.values() if action.job is not None]

    @property
    def prompted(self) -> bool:
        """Whether something is computed for a prompt; else the video comes to no more bytes than before."""
        return any(action.prompted for action in self.actions.values())

    def outcome(self, video: Video, results: Sequence[Result]) -> Outcome:
        """What the request makes of the video, `results` being those of the jobs."""
        objects = {object_id: bank for object_id, bank in video.objects.items() if object_id not in self.removed}
        visit, policy = self.visit, video.policy
        if visit is None:
            return Outcome(replace(video, objects=objects))
        if visit.track and not visit.refine:
            # `refine` could ask for the frame before until now.
            objects = {object_id: bank.kept(policy.keeps(bank.trusted, visit.frame, visit.direction)) for object_id, bank in objects.items()}
            video = replace(video, direction=visit.direction)
        made, answers, evicted = iter(results), [], 0
        for object_id, action in self.actions.items():
            result = next(made) if action.job is not None else None
            bank, answer = action.applied(objects.get(object_id, _EMPTY), visit.frame, result, policy)
            objects[object_id] = bank
            if answer is not None and not action.silent:
                answers.append((object_id, answer))
            if not bank.conditioning:  # its only prompts were cleared: nothing to track it by
                del objects[object_id]
        travelled = video.travelled if visit.refine else visit.track
        if travelled:  # before, everything may lie ahead
            for object_id, bank in objects.items():
                if overdue := policy.overdue(bank.conditioning, visit.frame, visit.direction):
                    objects[object_id] = bank.evicted(overdue, policy.keeps(bank.trusted, visit.frame, visit.direction))
                    evicted += len(overdue)
        return Outcome(replace(video, objects=objects, frame=visit.frame, travelled=travelled), answers, evicted)

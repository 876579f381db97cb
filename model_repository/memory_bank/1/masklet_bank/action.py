"""What a request does to one object on a frame: nothing, repeat an answer, track it, or take prompts. All of it is decided here, and only here.

    not prompted     prompted here before: that answer again | refine: the last answer again | else tracked, if prompted on an earlier frame
    click or box     first prompt on this frame: without memory, becomes a conditioning frame
                     prompted here before: the same, seeing the logits of that answer; takes its place
                     refine of a tracked frame: seeing the logits of the last answer; the family says whether with memory too, and whether the
                     frame stays an ordinary one
    mask             as a click, but the mask itself is the answer
    clear            this frame's prompts are forgotten first
(efficienttam_video_predictor.py:168-385, 577-682)
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from masklet.envelope import Prompt
from masklet.errors import TooManyPoints
from masklet_bank.bank import Answer, ObjectBank, Result
from masklet_bank.job import NO_LABELS, NO_POINTS, Job
from masklet_bank.policies.official import MemoryPolicy
from masklet_bank.request import MaskPrompt


@dataclass(frozen=True, eq=False)
class Visit:
    """A request for a frame, as far as it is the same for all objects.

    frame, direction  index of the frame, and the way of travel: +1 or -1
    track, refine     as in `masklet.wire.Options`
    features          EMBEDDING and HIGH_RES_* of the frame, without leading dimension
    prompts, masks    by object
    """

    frame: int
    direction: int
    track: bool
    refine: bool
    features: Mapping[str, Any]
    prompts: Mapping[int, Prompt]
    masks: Mapping[int, MaskPrompt]


@dataclass(frozen=True, eq=False)
class Action:
    """What a request does to one object on a frame.

    job         what to compute; None: nothing
    repeats     the answer that is given where nothing is computed; None: there is none
    tracked     what tracking made of the object on this frame before it was prompted; stays with the new answer
    conditions  the answer is one on a conditioning frame; else on an ordinary one
    clears      this frame's prompts are forgotten first
    silent      the object is not in the answer of the request: only its memory is made again
    """

    job: Job | None = None
    repeats: Answer | None = None
    tracked: Result | None = None
    conditions: bool = False
    clears: bool = False
    silent: bool = False

    @property
    def prompted(self) -> bool:
        """Whether something is computed for a prompt."""
        return self.job is not None and self.job.prompted

    def applied(self, bank: ObjectBank, frame: int, result: Result | None, policy: MemoryPolicy) -> tuple[ObjectBank, Answer | None]:
        """The bank with the outcome, `result` being that of the job; and the object's answer, None if it has none on this frame."""
        bank = bank.cleared(frame) if self.clears else bank
        answer = self.repeats
        if self.job is not None:
            assert result is not None
            answer = Answer(frame, result, self.job.points, self.job.labels, self.tracked if self.job.prompted else result)
        if answer is None:
            return bank, None
        if self.conditions:
            return bank.conditioned(answer), answer
        return bank.remembered(answer, trusted=policy.trusts(answer.result.score, answer.result.iou)), answer


def decide(visit: Visit, object_id: int, bank: ObjectBank, policy: MemoryPolicy, max_points: int) -> Action | None:
    """Decides about one object; None if it has no part in this request. Raises TooManyPoints."""
    prompt = visit.prompts.get(object_id)
    clears = prompt is not None and prompt.clear
    before = _before(visit, bank, clears=clears)
    if prompt is not None and gives(prompt):
        conditions = before is None or before.tracked is None or policy.family.corrections_condition
        job = _job(visit, prompt, bank, before, policy, max_points)
        return Action(job, tracked=before.tracked if before else None, conditions=conditions, clears=clears)
    if before is not None and (visit.track or clears):
        return Action(repeats=before, conditions=visit.frame in bank.conditioning and not clears, clears=clears)
    began = any(visit.direction * (visit.frame - prompted) > 0 for prompted in bank.conditioning)
    if visit.track and began and (clears or not visit.refine):
        reading = bank.read(policy.reads(bank.frames, visit.frame, visit.direction))
        return Action(Job(visit.features, reading), clears=clears)
    return Action(clears=True) if clears else None


def gives(prompt: Prompt) -> bool:
    """Whether a prompt carries points, a box or a mask."""
    return prompt.mask or len(prompt.labels) > 0


def _before(visit: Visit, bank: ObjectBank, *, clears: bool) -> Answer | None:
    """The answer on this frame that new prompts build upon, without those that are cleared; None if there is none, or prompts alone made it."""
    before = bank.conditioning.get(visit.frame)
    if before is None and visit.refine and bank.last is not None and bank.last.frame == visit.frame:
        before = bank.last
    if before is None or not clears:
        return before
    return None if before.tracked is None else replace(before, result=before.tracked, points=NO_POINTS, labels=NO_LABELS)


def _job(visit: Visit, prompt: Prompt, bank: ObjectBank, before: Answer | None, policy: MemoryPolicy, max_points: int) -> Job:
    """Takes points, a box or a mask for an object whose answer on this frame so far is `before`."""
    if prompt.mask:
        mask, low = visit.masks[prompt.object_id]
        return Job(visit.features, mask=mask, mask_low=low)
    points, labels = np.array(prompt.points, np.float32).reshape(-1, 2), np.array(prompt.labels, np.int32)
    if before is not None and prompt.append:
        points, labels = np.concatenate([before.points, points]), np.concatenate([before.labels, labels])
    if len(labels) > max_points:
        raise TooManyPoints(
            f"object {prompt.object_id} has {len(labels)} points on frame {visit.frame}; this server allows {max_points}. Send fewer points."
        )
    limit = policy.family.max_prompt_points
    points, labels = _at_most(points, limit), _at_most(labels, limit)
    remembers = before is not None and before.tracked is not None and policy.family.corrections_read_memory
    reading = bank.read(policy.reads(bank.frames, visit.frame, visit.direction)) if remembers else None
    return Job(visit.features, reading, points, labels, previous=before.result.low if before else None)


def _at_most(rows: np.ndarray, limit: int | None) -> np.ndarray:
    """The first and the last half of `limit` rows, if there are more (SAM 3: sam3_tracking_predictor.py:268-286)."""
    if limit is None or len(rows) <= limit:
        return rows
    return np.concatenate([rows[: limit // 2], rows[limit // 2 - limit :]])


def exclusive(actions: Mapping[int, Action], banks: Mapping[int, ObjectBank], visit: Visit) -> dict[int, Action]:
    """Makes the objects prompted on this frame exclusive; memories of those prompted there before are made again.

    Officially all masks of prompts on a frame become memories together, when tracking goes on (SAM 3 sam3_tracking_predictor.py:610-626).
    """
    if not any(action.prompted for action in actions.values()):
        return dict(actions)
    made = {}
    for object_id, bank in banks.items():
        before, action = bank.conditioning.get(visit.frame), actions.get(object_id)
        if before is not None and (action is None or (action.job is None and not action.clears)):
            job = Job(visit.features, points=before.points, labels=before.labels, made=before.result)
            action = Action(job, tracked=before.tracked, conditions=True, silent=action is None)
        if action is not None:
            made[object_id] = replace(action, job=replace(action.job, exclusive=True)) if action.prompted else action
    return made

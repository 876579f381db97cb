"""What a request does to one object: nothing, repeat an answer, track it, or take prompts.

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

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np

from masklet.errors import TooManyPoints
from masklet.wire import Options
from masklet_bank.bank import Answer, ObjectBank, result_bytes
from masklet_bank.prompts import Prompt
from masklet_bank.step import Frame, Job

NO_POINTS = np.zeros((0, 2), np.float32)
NO_LABELS = np.zeros(0, np.int32)


@dataclass
class ObjectPlan:
    """What a request does to one object.

    job         what to compute; None: `answer` is given without computing
    before      the answer on this frame that new prompts build upon
    conditions  the answer becomes a conditioning frame; else an ordinary one
    forgets     this frame's prompts are forgotten first
    silent      the object is not in the answer: only its memory is made again
    """

    object_id: int
    bank: ObjectBank
    job: Job | None = None
    answer: Answer | None = None
    before: Answer | None = None
    conditions: bool = False
    forgets: bool = False
    silent: bool = False

    def commit(self, frame: int) -> Answer | None:
        """Writes the outcome into the bank; returns the object's answer, None if it has none on this frame."""
        if self.forgets:
            self.bank.forget(frame)
        if self.job is None:
            if self.answer is not None and not self.conditions:
                self.bank.remember(self.answer)
            self.bank.last = self.answer
            return self.answer
        answer = self._computed(frame, self.job)
        if self.conditions:
            self.bank.condition(answer)
        else:
            self.bank.remember(answer)
        return None if self.silent else answer

    def growth(self, frame: int, direction: int, object_bytes: Callable[[int], int], *, travels: bool) -> int:
        """Bytes that the object will need beyond those that it needs so far (ObjectBank.grown). `travels`: frames that are left behind make room."""
        if self.job is None or not self.job.prompted:
            return 0
        new = [frame] * (self.conditions and frame not in self.bank.conditioning)
        corrects = self.before is not None and self.before.tracked is not None and self.before.result is self.before.tracked
        evicted = len(self.bank.overdue(frame, direction, new)) if travels else 0
        results = len(new) + corrects - evicted
        first = object_bytes(1) - result_bytes(object_bytes) if not self.bank.conditioning else 0
        return first + results * result_bytes(object_bytes) + self.job.points.nbytes + self.job.labels.nbytes

    def _computed(self, frame: int, job: Job) -> Answer:
        assert job.result is not None
        tracked = self.before.tracked if self.before else None
        if not job.prompted:
            tracked = job.result
        return Answer(frame, job.result, job.points, job.labels, tracked)


def plan_object(
    object_id: int,
    bank: ObjectBank,
    prompt: Prompt | None,
    options: Options,
    index: int,
    direction: int,
    frame: Frame,
    max_points: int,
) -> ObjectPlan | None:
    """Decides about one object on frame `index`; None if it has no part in this request. Changes nothing. Raises TooManyPoints."""
    before = bank.conditioning.get(index)
    if before is None and options.refine and bank.last is not None and bank.last.frame == index:
        before = bank.last
    forgets = prompt is not None and prompt.clear
    if forgets:
        before = _unprompted(before)
    if prompt is not None and prompt.gives:
        plan = _prompted(object_id, bank, prompt, before, index, direction, frame, max_points)
    elif before is not None and (options.track or forgets):
        plan = ObjectPlan(object_id, bank, answer=before, conditions=before is bank.conditioning.get(index))
    elif options.track and bank.began_before(index, direction) and (forgets or not options.refine):
        job = Job(frame, bank.read(index, direction), NO_POINTS, NO_LABELS)
        plan = ObjectPlan(object_id, bank, job=job)
    else:
        plan = None
    if forgets:
        plan = plan or ObjectPlan(object_id, bank)
        plan.forgets = True
    return plan


def _unprompted(answer: Answer | None) -> Answer | None:
    """The answer as it was before any prompt on its frame; None if it was made by prompts alone."""
    if answer is None or answer.tracked is None:
        return None
    return replace(answer, result=answer.tracked, points=NO_POINTS, labels=NO_LABELS)


def _prompted(
    object_id: int,
    bank: ObjectBank,
    prompt: Prompt,
    before: Answer | None,
    index: int,
    direction: int,
    frame: Frame,
    max_points: int,
) -> ObjectPlan:
    """Takes points, a box or a mask for an object whose answer on this frame so far is `before`."""
    corrects = before is not None and before.tracked is not None
    conditions = not corrects or bank.family.corrections_condition
    if prompt.mask is not None:
        job = Job(frame, None, NO_POINTS, NO_LABELS, mask=prompt.mask, low=prompt.low)
        return ObjectPlan(object_id, bank, job=job, before=before, conditions=conditions)
    points, labels = prompt.points, prompt.labels
    if before is not None and prompt.append:
        points, labels = np.concatenate([before.points, points]), np.concatenate([before.labels, labels])
    if len(labels) > max_points:
        raise TooManyPoints(f"object {object_id} has {len(labels)} points on frame {index}; this server allows {max_points}. Send fewer points.")
    points, labels = _at_most(points, bank.family.max_prompt_points), _at_most(labels, bank.family.max_prompt_points)
    reading = bank.read(index, direction) if corrects and bank.family.corrections_read_memory else None
    job = Job(frame, reading, points, labels, previous=before.result.low if before else None)
    return ObjectPlan(object_id, bank, job=job, before=before, conditions=conditions)


def exclude(plans: dict[int, ObjectPlan], banks: Mapping[int, ObjectBank], index: int, frame: Frame) -> dict[int, ObjectPlan]:
    """Makes the objects prompted on frame `index` rivals of one another; memories of those prompted there before are made again.

    Officially all masks of prompts on a frame become memories together, when tracking goes on (SAM 3 sam3_tracking_predictor.py:610-626).
    """
    if not any(plan.job is not None and plan.job.prompted for plan in plans.values()):
        return plans
    for object_id, bank in banks.items():
        before, plan = bank.conditioning.get(index), plans.get(object_id)
        if before is None or (plan is not None and (plan.job is not None or plan.forgets)):
            continue
        result = before.result
        job = Job(frame, None, before.points, before.labels, low=result.low, pointer=result.pointer, score=result.score, iou=result.iou, again=True)
        plans[object_id] = ObjectPlan(object_id, bank, job=job, before=before, conditions=True, silent=plan is None)
    prompted = [plan.job for plan in plans.values() if plan.job is not None and plan.job.prompted]
    for job in prompted:
        job.rivals = [rival for rival in prompted if rival is not job]
    return {object_id: plans[object_id] for object_id in banks if object_id in plans}


def _at_most(rows: np.ndarray, limit: int | None) -> np.ndarray:
    """The first and the last half of `limit` rows, if there are more (SAM 3: sam3_tracking_predictor.py:268-286)."""
    if limit is None or len(rows) <= limit:
        return rows
    return np.concatenate([rows[: limit // 2], rows[limit // 2 - limit :]])

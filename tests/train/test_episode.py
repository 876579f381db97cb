"""An episode remembers what the served memory bank remembers."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch

from masklet.families import variant
from masklet_bank.bank import Answer, ObjectBank, Result
from masklet_bank.policies import policy_of
from train_nano import prompts
from train_nano.episode import Plan, run_episode
from train_nano.network import Trainable
from train_nano.weights import fresh_model

pytestmark = pytest.mark.torch

FRAMES = 20
NANO = variant("nano")


@pytest.fixture(scope="module")
def clip():
    masks = torch.zeros(1, FRAMES, 1, 32, 32, dtype=torch.bool)
    masks[..., 8:24, 8:24] = True
    return torch.zeros(1, FRAMES, 32, 32, 3, dtype=torch.uint8), masks


class Watched(Trainable):
    """Writes down which frames every attention reads: memories are made one per frame, in order."""

    def __init__(self) -> None:
        super().__init__(NANO)
        self.load_state_dict(fresh_model(NANO, seed=1).state_dict())
        self.pointers: list[torch.Tensor] = []
        self.memories: list[torch.Tensor] = []
        self.thresholded: list[bool] = []
        self.read: list[tuple[list[int], list[int], set[int]]] = []

    def pointer(self, token, present):
        self.pointers.append(super().pointer(token, present))
        return self.pointers[-1]

    def encode(self, image, objects, logits, *, binarise):
        self.thresholded.append(binarise)
        self.memories.append(super().encode(image, objects, logits, binarise=binarise))
        return self.memories[-1]

    def attend(self, image, objects, memories, slots, pointers):
        frames = [self._which(self.memories, memory.memory) for memory in memories]
        self.read.append((frames, list(slots), {self._which(self.pointers, pointer) for pointer in pointers}))
        return super().attend(image, objects, memories, slots, pointers)

    @staticmethod
    def _which(known: list[torch.Tensor], tensor: torch.Tensor) -> int:
        return next(index for index, one in enumerate(known) if one is tensor)


def answer(frame: int) -> Answer:
    """An answer whose arrays tell its frame."""
    name = np.full(1, frame)
    return Answer(frame, Result(name, name, name, 1.0, 1.0), name, name)


@pytest.fixture(scope="module")
def read(clip):
    model = Watched()
    with torch.no_grad():
        run_episode(model, *clip, Plan("point"))
    return model.read


def test_every_frame_reads_what_the_served_bank_reads(read):
    policy = policy_of(NANO.family, max_conditioning=0)
    bank = ObjectBank().conditioned(answer(0))
    for frame in range(1, FRAMES):
        reading = bank.read(policy.reads(bank.frames, frame, 1))
        frames, slots, pointers = read[frame - 1]
        assert frames == [int(memory[0]) for memory in reading.memories]
        assert slots == reading.slots
        assert pointers == {int(pointer[0]) for pointer in reading.pointers}
        bank = bank.kept(policy.keeps(bank.trusted, frame, 1)).remembered(answer(frame), trusted=False)


def test_a_forgetful_episode_reads_the_prompted_frame_only(clip):
    model = Watched()
    with torch.no_grad():
        run_episode(model, clip[0][:, :4], clip[1][:, :4], Plan("box", forgetful=True))
    assert model.read == [([0], [6], {0})] * 3


def test_masks_that_a_prompt_made_are_thresholded_before_they_are_remembered_and_no_others(clip):
    model = Watched()
    with torch.no_grad():
        run_episode(model, clip[0][:, :4], clip[1][:, :4], Plan("box", frozenset({0, 2})))
    assert model.thresholded == [True, False, True, False]


def test_a_correction_sees_an_empty_mask_where_the_model_says_away(clip, monkeypatch):
    seen = []
    correction = prompts.correction
    monkeypatch.setattr(prompts, "correction", lambda masks, logits, *others: seen.append(logits) or correction(masks, logits, *others))
    model = Watched()
    with torch.no_grad():
        model.network.sam_mask_decoder.pred_obj_score_head.layers[-1].bias -= 100
        run_episode(model, clip[0][:, :2], clip[1][:, :2], Plan("point", frozenset({0, 1})))
    assert [logits.unique().tolist() for logits in seen] == [[NANO.family.no_object_score]] * 2


@pytest.mark.parametrize("kind", ["point", "box", "mask"])
def test_gradients_reach_the_memory_encoder_through_later_frames(clip, kind):
    model = fresh_model(NANO, seed=1)
    with torch.no_grad():  # else random weights hold the object for absent, and its pointer is a constant
        model.network.sam_mask_decoder.pred_obj_score_head.layers[-1].bias += 10
    outcome = run_episode(model, clip[0][:, :3], clip[1][:, :3], Plan(kind, frozenset({1})))
    outcome.total.backward()
    assert model.network.memory_encoder.out_proj.weight.grad.abs().sum() > 0
    assert model.network.obj_ptr_proj.layers[0].weight.grad.abs().sum() > 0
    assert (model.network.mask_downsample.weight.grad is not None) == (kind == "mask")


def test_every_parameter_that_serving_uses_learns(clip):
    model = fresh_model(NANO, seed=1)
    bias = model.network.sam_mask_decoder.pred_obj_score_head.layers[-1].bias
    torch.manual_seed(0)
    for score, kinds in ((10.0, ("point", "box", "mask")), (-10.0, ("point",))):  # held for present, then for absent
        with torch.no_grad():
            bias.fill_(score)
        for kind in kinds:
            run_episode(model, clip[0][:, :3], clip[1][:, :3], Plan(kind, frozenset({1} if kind == "mask" else {0, 1}))).total.backward()
    still = {name for name, parameter in model.network.named_parameters() if parameter.grad is None or not parameter.grad.any()}
    assert still == {"no_mem_pos_enc"}, "officially never used"


def test_plans_vary_and_a_single_frame_is_never_prompted_by_its_mask():
    plans = [Plan.draw(random.Random(seed), 8) for seed in range(300)]
    assert {plan.kind for plan in plans} == {"point", "box", "mask"}
    assert {plan.forgetful for plan in plans} == {True, False}
    assert all(0 not in plan.corrected for plan in plans if plan.kind == "mask")
    assert any(frame > 0 for plan in plans for frame in plan.corrected)
    assert {Plan.draw(random.Random(seed), 1).kind for seed in range(100)} == {"point", "box"}

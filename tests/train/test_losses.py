"""The losses against their definitions on cases that can be done by hand."""

from __future__ import annotations

import math

import pytest
import torch

from train_nano.losses import DICE, FOCAL, dice, focal, frame_loss, identity, overlap, target
from train_nano.network import Decoded

pytestmark = pytest.mark.torch


def decoded(logits: torch.Tensor, score: float = 5.0) -> Decoded:
    rows = len(logits)
    masks = logits[:, None].expand(-1, 4, -1, -1)
    return Decoded(masks, torch.full((rows, 4), 0.5), torch.full((rows,), score), torch.zeros(rows, 4, 8))


def square(side: int = 32) -> torch.Tensor:
    mask = torch.zeros(1, side, side, dtype=torch.bool)
    mask[:, 8:24, 8:24] = True
    return mask


def test_the_target_is_the_share_of_each_pixel():
    mask = torch.zeros(2, 32, 32, dtype=torch.bool)
    mask[0, 0, 0] = True
    truth = target(mask, low_size=8)
    assert truth.share.shape == (2, 16, 16)
    assert truth.share[0, 0, 0] == 0.25
    assert truth.share.sum() == 0.25
    assert truth.present.tolist() == [True, False]


def test_focal_of_one_pixel_is_the_formula():
    logit, p = torch.tensor([[0.8]]), torch.sigmoid(torch.tensor(0.8))
    torch.testing.assert_close(focal(logit, torch.ones(1, 1)), -0.25 * (1 - p) ** 2 * p.log())
    torch.testing.assert_close(focal(logit, torch.zeros(1, 1)), -0.75 * p**2 * (1 - p).log())


def test_dice_is_none_for_the_same_mask_and_nearly_one_for_another():
    share = square()[0].float()
    assert dice(40 * share - 20, share) < 1e-3
    assert dice(20 - 40 * share, share) > 0.99


def test_overlap_is_the_iou():
    share = square()[0].float()
    half = torch.full((32, 32), -1.0)
    half[8:24, 8:16] = 1.0
    assert overlap(half, share) == 0.5
    assert overlap(-torch.ones(4, 4), torch.zeros(4, 4)) == 1


def test_a_right_mask_costs_less_than_a_wrong_one():
    mask = square()
    right = 16 * torch.nn.functional.avg_pool2d(mask.float(), 4) - 8
    good, bad = (frame_loss(decoded(logits), target(mask, 8)) for logits in (right, -right))
    assert good["focal"] < 0.1 * FOCAL < bad["focal"]
    assert good["dice"] < 0.3 * DICE < bad["dice"]


def test_the_predicted_iou_is_held_against_the_true_one():
    share = target(square(), 8).share
    same = 20 * torch.nn.functional.avg_pool2d(square().float(), 4) - 10
    fine = torch.nn.functional.interpolate(same[:, None], scale_factor=2, mode="bilinear", align_corners=False)[:, 0]
    assert overlap(fine, share) == 1
    assert frame_loss(decoded(same), target(square(), 8))["iou"] == 0.5  # `decoded` predicts 0.5


def test_masks_of_an_absent_object_cost_nothing_but_its_score_does():
    nothing = torch.zeros(1, 32, 32, dtype=torch.bool)
    terms = frame_loss(decoded(torch.randn(1, 8, 8), score=5.0), target(nothing, 8))
    assert terms["focal"] == terms["dice"] == terms["iou"] == 0
    assert terms["presence"] == pytest.approx(5.0067, abs=1e-3)
    assert frame_loss(decoded(torch.randn(1, 8, 8), score=-5.0), target(nothing, 8))["presence"] < 0.01


def test_an_absent_object_does_not_dilute_the_others():
    mask = torch.cat((square(), torch.zeros(1, 32, 32, dtype=torch.bool)))
    logits = torch.randn(2, 8, 8, generator=torch.Generator().manual_seed(0))
    both, alone = frame_loss(decoded(logits), target(mask, 8)), frame_loss(decoded(logits[:1]), target(mask[:1], 8))
    for name in ("focal", "dice", "iou"):
        torch.testing.assert_close(both[name], alone[name])


def tokens_of_places(places: list[list[int]]) -> torch.Tensor:
    """Image tokens [1, frames, T, hidden] in which every place looks like the thing of that number."""
    return torch.nn.functional.one_hot(torch.tensor(places), 5).float()[None]


def share_of_places(places: list[list[int]], objects: int) -> torch.Tensor:
    """Share [1, frames, objects, T]: the places of thing 1 are object 0, and so on; thing 0 is background."""
    return torch.stack([(torch.tensor(places) == number + 1).float() for number in range(objects)], dim=1)[None]


def test_identity_costs_nothing_where_places_of_an_object_look_alike_and_alike_nowhere_else():
    places = [[0, 0, 1, 2], [2, 0, 0, 1], [0, 1, 0, 0]]
    assert identity(tokens_of_places(places), share_of_places(places, 2)) < 0.01
    mistaken = [places[0], [1, 0, 0, 2], [0, 2, 0, 0]]
    assert identity(tokens_of_places(mistaken), share_of_places(places, 2)) > 2


def test_identity_of_places_that_all_look_alike_is_the_entropy_of_frame_0():
    places = [[0, 0, 1, 2], [0, 0, 1, 2]]
    alike = torch.ones(1, 2, 4, 5)
    expected = -(math.log(0.5 + 1e-3) + 2 * math.log(0.25 + 1e-3)) / 3  # background, two objects: each weighs the same
    torch.testing.assert_close(identity(alike, share_of_places(places, 2)).item(), expected)


def test_an_object_that_is_away_does_not_count_in_identity():
    places = [[0, 0, 1, 2], [0, 0, 1, 0]]
    alike = torch.ones(1, 2, 4, 5)
    expected = -(math.log(0.5 + 1e-3) + math.log(0.25 + 1e-3)) / 2
    torch.testing.assert_close(identity(alike, share_of_places(places, 2)).item(), expected)

"""Prompts that training draws from true masks."""

from __future__ import annotations

import pytest
import torch

from train_nano import prompts
from train_nano.network import Prompt

pytestmark = pytest.mark.torch


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


def rectangle(rows: slice, columns: slice, side: int = 64) -> torch.Tensor:
    mask = torch.zeros(1, side, side, dtype=torch.bool)
    mask[:, rows, columns] = True
    return mask


def inside(points: torch.Tensor, mask: torch.Tensor) -> bool:
    return all(bool(mask[0, int(y), int(x)]) for x, y in points.reshape(-1, 2).tolist())


def test_clicks_fall_into_the_region_and_rather_into_its_middle():
    mask = rectangle(slice(10, 50), slice(20, 60))
    clicks = prompts.click(mask.expand(400, -1, -1))
    assert inside(clicks, mask)
    assert len(clicks.unique(dim=0)) > 100
    middle = ((clicks - torch.tensor([40.0, 30.0])).abs().amax(dim=1) < 10).float().mean()
    assert middle > 0.3  # of evenly spread clicks it would be a quarter


def test_an_empty_region_is_clicked_at_the_centre_of_the_image():
    assert prompts.click(torch.zeros(2, 64, 64, dtype=torch.bool)).tolist() == [[32, 32], [32, 32]]


def test_a_box_lies_around_the_object_within_a_tenth_of_its_sides():
    mask = rectangle(slice(10, 30), slice(5, 45))
    boxes = [prompts.box(mask).points.reshape(4) for _ in range(50)]
    exact, slack = torch.tensor([5.0, 10.0, 45.0, 30.0]), torch.tensor([4.0, 2.0, 4.0, 2.0])
    assert all(bool(((found - exact).abs() <= slack).all()) for found in boxes)
    assert len({tuple(found.tolist()) for found in boxes}) == 50
    assert prompts.box(mask).labels.tolist() == [[2, 3]]


def test_a_box_of_a_mask_in_the_corner_stays_in_the_image():
    boxes = torch.stack([prompts.box(rectangle(slice(0, 64), slice(0, 64))).points for _ in range(20)])
    assert boxes.min() >= 0
    assert boxes.max() <= 64


def logits(mask: torch.Tensor) -> torch.Tensor:
    return 100 * (2 * torch.nn.functional.avg_pool2d(mask.float(), 4) - 1)


def test_what_is_missing_is_clicked_as_part_of_the_object():
    truth, found = rectangle(slice(8, 40), slice(8, 40)), rectangle(slice(8, 40), slice(8, 20))
    prompt = prompts.correction(truth, logits(found), None, limit=32.0)
    assert prompt.labels.tolist() == [[1]]
    assert inside(prompt.points, truth & ~found)
    assert prompt.logits.abs().max() == 32


def test_what_is_too_much_is_clicked_as_not_part_of_the_object():
    truth, found = rectangle(slice(8, 20), slice(8, 40)), rectangle(slice(8, 40), slice(8, 40))
    prompt = prompts.correction(truth, logits(found), None, limit=32.0)
    assert prompt.labels.tolist() == [[0]]
    assert inside(prompt.points, found & ~truth)


def test_a_correction_comes_after_the_prompts_before_it():
    truth = rectangle(slice(8, 40), slice(8, 40))
    before = Prompt(torch.tensor([[[9.0, 9.0]]]), torch.tensor([[1]]))
    prompt = prompts.correction(truth, logits(~truth), before, limit=32.0)
    assert prompt.points.shape == (1, 2, 2)
    assert prompt.points[0, 0].tolist() == [9, 9]


def test_a_mask_without_a_fault_is_clicked_on_the_object():
    truth = rectangle(slice(8, 40), slice(8, 40))
    prompt = prompts.correction(truth, logits(truth), None, limit=32.0)
    assert prompt.labels.tolist() == [[1]]
    assert inside(prompt.points, truth)


def test_an_absent_object_is_never_clicked_as_if_it_were_there():
    nothing = torch.zeros(1, 64, 64, dtype=torch.bool)
    for found in (nothing, rectangle(slice(8, 20), slice(8, 20))):
        assert prompts.correction(nothing, logits(found), None, limit=32.0).labels.tolist() == [[0]]

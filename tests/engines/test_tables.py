"""Constant tables against numbers computed once with the official modules, and against PyTorch's own resize."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from masklet_build.models.sam.memory_encoder import Resize, soft_mask
from masklet_build.models.sam.tables import resize_matrix, resized_position_embedding, rotary_table, sine_table, time_code
from masklet_build.models.sam2.trunk import position_embedding

pytestmark = pytest.mark.torch


@pytest.mark.parametrize(
    ("channels", "grid", "total", "entries"),
    [
        (256, 64, 518706.105, {(0, 0, 0): 0.0980171, (1, 0, 0): 0.9951847, (128, 0, 0): 0.0980171, (2, 5, 9): 0.4882603, (131, 5, 9): 0.6598640}),
        (256, 32, 129558.817, {(2, 5, 9): 0.8522075, (131, 5, 9): -0.1291590}),
        (64, 64, 127058.880, {(2, 5, 9): 0.3252219, (35, 5, 9): 0.8514369}),
        (64, 72, 160821.641, {(35, 5, 9): 0.8819865}),
        (64, 32, 31741.486, {}),
        (64, 16, 7922.980, {(35, 5, 9): -0.5951985}),
    ],
)
def test_sine_table_is_the_official_one(channels, grid, total, entries):
    table = sine_table(channels, grid)
    assert table.shape == (channels, grid, grid)
    assert float(table.double().sum()) == pytest.approx(total, abs=0.01)
    for place, value in entries.items():
        assert float(table[place]) == pytest.approx(value, abs=1e-6)


@pytest.mark.parametrize(("grid", "cosines", "sines"), [(64, 309234.067, 87776.905), (72, 383193.805, 111794.828), (32, 87686.436, 21494.180)])
def test_rotary_table_is_the_official_one(grid, cosines, sines):
    cosine, sine = rotary_table(grid, 256)
    assert cosine.shape == sine.shape == (grid * grid, 128)
    assert float(cosine.double().sum()) == pytest.approx(cosines, abs=0.02)
    assert float(sine.double().sum()) == pytest.approx(sines, abs=0.02)


def test_rotary_pairs_of_one_token_turn_by_x_first_and_then_by_y():
    cosine, sine = rotary_table(64, 256)
    token = 70  # x = 6, y = 1
    pairs = {0: (0.9601703, -0.2794155), 1: (0.4647896, -0.8854212), 63: (0.9999998, 0.0006929), 64: (0.5403023, 0.8414710), 127: (1.0, 0.0001155)}
    for pair, (wanted_cosine, wanted_sine) in pairs.items():
        assert float(cosine[token, pair]) == pytest.approx(wanted_cosine, abs=1e-6)
        assert float(sine[token, pair]) == pytest.approx(wanted_sine, abs=1e-6)


@pytest.mark.parametrize(
    ("grid", "entries"),
    [
        (64, {(0, 0): -1.63186, (1, 2): -1.20246, (31, 31): 96.2499, (10, 50): 35.01876}),
        (32, {(0, 0): -1.63456, (1, 2): 2.15162, (10, 25): 68.41672}),
    ],
)
def test_position_embedding_drops_its_class_entry_and_is_resized_bicubically(grid, entries):
    stored = torch.cat((torch.tensor([1e6]), torch.arange(196, dtype=torch.float32)))[None, :, None]
    resized = resized_position_embedding(stored, grid)
    assert resized.shape == (1, grid, grid, 1)
    for (row, column), value in entries.items():
        assert float(resized[0, row, column, 0]) == pytest.approx(value, abs=2e-4)


def test_time_code_is_the_official_one_sines_first():
    code = time_code(torch.tensor([0.0, 1.0, 7.0, 40.0]) / 15, 256)
    assert code.shape == (4, 256)
    assert float(code.double().sum()) == pytest.approx(524.21186, abs=1e-3)
    entries = {(1, 0): 0.0666173, (1, 1): 0.0666173, (2, 2): 0.3932067, (3, 5): 0.9094148, (3, 128): -0.8893266, (3, 133): -0.4158902, (2, 255): 1.0}
    for place, value in entries.items():
        assert float(code[place]) == pytest.approx(value, abs=1e-6)


def test_position_embedding_of_sam_2_is_resized_and_repeats_in_every_window():
    background, window = torch.arange(49.0).reshape(1, 1, 7, 7), 100 * torch.arange(64.0).reshape(1, 1, 8, 8)
    position = position_embedding(background, window, 256)
    assert position.shape == (1, 256 * 256, 1)
    entries = {(0, 0): -0.7699, (7, 8): 5599.1226, (8, 7): 699.1365, (100, 201): 3321.0798, (255, 255): 6348.77}
    for (row, column), value in entries.items():
        assert float(position[0, 256 * row + column, 0]) == pytest.approx(value, abs=1e-3)


def test_resize_matrix_has_eight_taps_inside_and_equals_the_resize_at_the_borders():
    matrix = resize_matrix(512, 128)
    inside = matrix[60]
    np.testing.assert_allclose(inside[inside > 0], np.array([1, 3, 5, 7, 7, 5, 3, 1]) / 32, atol=1e-7)
    image = torch.rand(1, 1, 512, 512, generator=torch.Generator().manual_seed(0))
    wanted = torch.nn.functional.interpolate(image, (128, 128), mode="bilinear", antialias=True)
    torch.testing.assert_close((matrix @ image[0, 0] @ matrix.T), wanted[0, 0], atol=1e-6, rtol=0)


@pytest.mark.parametrize(("size", "target", "antialias"), [(288, 1008, False), (1008, 1152, True), (96, 336, False), (64, 256, False)])
def test_masks_are_enlarged_as_pytorch_does_it(size, target, antialias):
    """To a few roundings of the largest logit, so that a pixel falls on the same side of the threshold."""
    image = torch.rand(1, 2, size, size, generator=torch.Generator().manual_seed(0)) * 2048 - 1024
    wanted = torch.nn.functional.interpolate(image, (target, target), mode="bilinear", antialias=antialias)
    torch.testing.assert_close(Resize(size, target, antialias=antialias)(image), wanted, atol=1024 * 2**-21, rtol=0)


def test_weights_of_an_enlargement_by_a_whole_factor_are_exact():
    eighths = 8 * Resize(64, 256).matrix
    assert torch.equal(eighths, eighths.round())
    assert torch.equal(eighths.sum(1), torch.full((256,), 8.0))


def test_a_mask_is_the_sigmoid_of_its_logits_or_whether_they_are_above_0():
    logits = torch.tensor([-3e38, -1e6, -8.0, -1e-35, -0.0, 0.0, 1e-35, 1e-7, 8.0, 1e6, 3e38])[None, None, None].repeat(2, 1, 1, 1)
    soft, binary = soft_mask(logits, torch.tensor([0, 1], dtype=torch.int32))
    assert torch.equal(soft, logits[0].sigmoid())
    torch.testing.assert_close(binary, (logits[1] > 0).float(), atol=1e-43, rtol=0)


def test_uint8_over_255_rounds_the_same_in_single_precision_as_officially_in_double():
    levels = torch.arange(256, dtype=torch.uint8)
    assert torch.equal(levels.float() / 255.0, (levels.double() / 255.0).float())

"""Pictures for people: tinted where the mask is, untouched elsewhere."""

from __future__ import annotations

import numpy as np
import pytest

from masklet.overlay import colour, contact_sheet, overlay

FRAME = np.random.default_rng(1).integers(0, 256, (60, 80, 3), dtype=np.uint8)
MASK = np.zeros((60, 80), dtype=np.bool_)
MASK[20:50, 30:60] = True


def test_only_the_object_its_number_and_its_box_are_drawn():
    drawn = overlay(FRAME, MASK[None], [1])
    changed = (drawn != FRAME).any(axis=2)
    assert not changed[50:].any()
    assert not changed[:, :29].any()
    assert not changed[20:, 60:].any()
    assert changed[20:50, 30:60].mean() > 0.9
    boxed = overlay(FRAME, MASK[None], [1], np.array([[5, 2, 70, 58]], dtype=np.float32))
    assert (boxed[2, 5:70] == colour(1)).all()
    assert (boxed[57, 5:70] == colour(1)).all()
    assert (boxed[2:58, 69] == colour(1)).all()
    assert (boxed[58:] == FRAME[58:]).all()


def test_the_outline_has_the_pure_colour_and_the_inside_shows_the_frame():
    drawn = overlay(np.zeros_like(FRAME), MASK[None], [2])
    assert (drawn[49, 30:60] == colour(2)).all()
    assert (drawn[30, 40] < colour(2)).any()
    assert drawn[30, 40].any()


def test_the_frame_is_left_as_it_was():
    before = FRAME.copy()
    overlay(FRAME, MASK[None], [1])
    np.testing.assert_array_equal(FRAME, before)


def test_different_numbers_look_different():
    pictures = [overlay(FRAME, MASK[None], [number]) for number in (1, 13, 25)]  # of the same colour
    assert colour(1) == colour(13) == colour(25)
    assert len({picture.tobytes() for picture in pictures}) == 3


def test_twelve_objects_in_a_row_have_colours_far_apart():
    colours = np.array([colour(number) for number in range(1, 13)], dtype=float)
    distances = np.linalg.norm(colours[:, None] - colours[None], axis=2) + 1000 * np.eye(12)
    assert distances.min() > 60


@pytest.mark.parametrize("masks", [np.zeros((0, 0, 0), np.bool_), np.zeros((0, 60, 80), np.bool_)], ids=["of_no_size", "of_the_frame"])
def test_no_objects_leave_the_frame(masks):
    np.testing.assert_array_equal(overlay(FRAME, masks, []), FRAME)


def test_an_object_that_is_not_there_leaves_the_frame():
    boxes = np.zeros((1, 4), dtype=np.float32)
    np.testing.assert_array_equal(overlay(FRAME, np.zeros((1, 60, 80), np.bool_), [5], boxes), FRAME)


def test_objects_at_every_border_can_be_drawn():
    for corner in (np.s_[0, 0], np.s_[-1, -1], np.s_[0, -1], np.s_[-1, 0]):
        mask = np.zeros((60, 80), dtype=np.bool_)
        mask[corner] = True
        assert (overlay(FRAME, mask[None], [1234567]) != FRAME).any()


def test_masks_of_another_size_are_refused():
    with pytest.raises(ValueError, match=r"\(1, 60, 80\)"):
        overlay(FRAME, MASK.T[None], [1])


def test_a_contact_sheet_holds_the_frames_row_by_row():
    frames = [np.full((3, 5, 3), value, dtype=np.uint8) for value in (10, 20, 30)]
    sheet = contact_sheet(frames, columns=2, gap=1)
    assert sheet.shape == (7, 11, 3)
    assert (sheet[:3, :5] == 10).all()
    assert (sheet[:3, 6:] == 20).all()
    assert (sheet[4:, :5] == 30).all()
    assert not sheet[4:, 5:].any()
    assert contact_sheet(frames[:1], columns=4).shape == (3, 5, 3)


@pytest.mark.parametrize("frames", [[], [FRAME, FRAME[1:]]], ids=["none", "two_sizes"])
def test_a_contact_sheet_needs_frames_of_one_size(frames):
    with pytest.raises(ValueError, match="one size"):
        contact_sheet(frames, columns=2)

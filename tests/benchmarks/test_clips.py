"""Properties of the synthetic clips."""

from __future__ import annotations

import numpy as np
import pytest

from clips import bounding_box, clip, inner_point

SMALL = {"frames": 12, "height": 90, "width": 160, "objects": 4}


def test_a_clip_depends_on_its_seed_alone() -> None:
    first, again, other = clip(5, **SMALL), clip(5, **SMALL), clip(6, **SMALL)
    assert np.array_equal(first.frames, again.frames)
    assert np.array_equal(first.masks, again.masks)
    assert not np.array_equal(first.frames, other.frames)
    assert not np.array_equal(first.masks, other.masks)


def test_frames_and_masks_have_the_shapes_that_were_asked_for() -> None:
    made = clip(0, frames=3, height=48, width=70, objects=2)
    assert (made.frames.shape, made.frames.dtype) == ((3, 48, 70, 3), np.uint8)
    assert (made.masks.shape, made.masks.dtype) == ((3, 2, 48, 70), np.bool_)


@pytest.mark.parametrize("seed", range(5))
def test_every_pixel_belongs_to_one_object_at_most(seed: int) -> None:
    assert clip(seed, **SMALL).masks.sum(axis=1).max() == 1


@pytest.mark.parametrize("seed", range(5))
def test_all_objects_are_in_view_first_and_a_fast_one_leaves(seed: int) -> None:
    areas = clip(seed, **SMALL).masks.sum(axis=(2, 3))
    assert areas[0].min() > 100
    assert areas[-1, 2] == 0


@pytest.mark.parametrize("seed", range(5))
def test_masks_are_exactly_the_pixels_that_objects_cover(seed: int) -> None:
    with_objects, without = clip(seed, **SMALL), clip(seed, **{**SMALL, "objects": 0})
    covered = with_objects.masks.any(axis=1)
    differs = (with_objects.frames != without.frames).any(axis=3)
    assert not differs[~covered].any()
    assert differs[covered].mean() > 0.98  # a pixel of an object may have the background's colour by chance


@pytest.mark.parametrize("seed", range(5))
def test_an_inner_point_lies_on_the_object_and_in_its_box(seed: int) -> None:
    for mask in clip(seed, **SMALL).masks[0]:
        x, y = inner_point(mask)
        x0, y0, x1, y1 = bounding_box(mask)
        assert mask[y, x]
        assert x0 <= x < x1
        assert y0 <= y < y1
        assert mask[y0:y1, x0:x1].sum() == mask.sum()
        assert all(edge.any() for edge in (mask[y0], mask[y1 - 1], mask[:, x0], mask[:, x1 - 1]))


@pytest.mark.parametrize("function", [inner_point, bounding_box])
def test_an_empty_mask_has_neither_point_nor_box(function: object) -> None:
    with pytest.raises(ValueError, match="empty mask"):
        function(np.zeros((4, 4), np.bool_))  # type: ignore[operator]

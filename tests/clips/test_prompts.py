"""A click and a box for a mask."""

from __future__ import annotations

import numpy as np
import pytest

from masklet_build.clips import bounding_box, inner_point, make_clip


@pytest.mark.parametrize("index", range(3))
def test_an_inner_point_lies_on_the_object_and_in_its_box(index: int) -> None:
    for mask in make_clip("test", index, frames=1, height=90, width=160, objects=4).masks[0]:
        x, y = inner_point(mask)
        x0, y0, x1, y1 = bounding_box(mask)
        assert mask[y, x]
        assert x0 <= x < x1
        assert y0 <= y < y1
        assert mask[y0:y1, x0:x1].sum() == mask.sum()
        assert all(edge.any() for edge in (mask[y0], mask[y1 - 1], mask[:, x0], mask[:, x1 - 1]))


def test_the_inner_point_of_a_disc_is_its_middle_even_at_the_border_of_the_frame() -> None:
    y, x = np.mgrid[:40, :60]
    assert inner_point(np.hypot(x - 31, y - 17) < 10) == (31, 17)
    assert inner_point(np.hypot(x - 5, y - 34) < 5.5) == (5, 34)


def test_an_inner_point_is_far_from_the_border_and_not_in_a_thin_part() -> None:
    mask = np.zeros((30, 60), np.bool_)
    mask[14:16, :40], mask[5:25, 40:60] = True, True
    x, y = inner_point(mask)
    assert 48 <= x <= 51
    assert 13 <= y <= 16


@pytest.mark.parametrize("function", [inner_point, bounding_box])
def test_an_empty_mask_has_neither_point_nor_box(function: object) -> None:
    with pytest.raises(ValueError, match="empty mask"):
        function(np.zeros((4, 4), np.bool_))  # type: ignore[operator]

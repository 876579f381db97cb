"""Polygons are exact: filled again, by even-odd and by winding, they are the mask."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from pycocotools import mask as coco_mask

from masklet.export import export
from masklet.export.contours import one_polygon, outlines
from tests.exports.conftest import disc

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # in pycocotools, with numpy 2


def winding(polygons: list[np.ndarray], size: tuple[int, int]) -> np.ndarray:
    """How often polygons with edges along the grid go around each pixel, by what crosses the ray to its left."""
    turns = np.zeros((size[0], size[1] + 1), dtype=int)
    for polygon in polygons:
        for (x0, y0), (x1, y1) in zip(polygon, np.roll(polygon, -1, axis=0), strict=True):
            if x0 == x1:
                turns[min(y0, y1) : max(y0, y1), x0] += 1 if y0 > y1 else -1
    return np.cumsum(turns, axis=1)[:, :-1]


@given(arrays(bool, st.tuples(st.integers(1, 9), st.integers(1, 9))))
def test_outlines_wind_once_around_every_pixel_of_a_mask_and_around_no_other(mask):
    np.testing.assert_array_equal(winding(outlines(mask), mask.shape), mask.astype(int))


@given(arrays(bool, st.tuples(st.integers(1, 9), st.integers(1, 9))))
def test_outlines_have_corners_only(mask):
    for outline in outlines(mask):
        steps = np.roll(outline, -1, axis=0) - outline
        assert ((steps == 0).sum(axis=1) == 1).all()
        assert (np.roll(steps, -1, axis=0) * steps == 0).all()  # every corner turns


def test_pixels_that_touch_at_a_corner_are_apart_and_a_hole_goes_the_other_way():
    assert len(outlines(np.eye(3, dtype=bool))) == len(outlines(np.eye(3, dtype=bool)[::-1])) == 3
    ring = np.ones((3, 3), dtype=bool)
    ring[1, 1] = False
    outer, hole = outlines(ring)
    assert outer.tolist() == [[0, 0], [3, 0], [3, 3], [0, 3]]
    assert hole.tolist() == [[1, 1], [1, 2], [2, 2], [2, 1]]


MASKS = {
    "disc": disc(20, 30, 11),
    "ring": disc(20, 30, 11) & ~disc(20, 30, 5),
    "parts and holes": disc(20, 40, 12) & ~disc(20, 40, 6) | disc(40, 5, 3) | disc(20, 40, 2),
    "noise": np.random.default_rng(1).random((48, 64)) > 0.6,
    "everything": np.ones((48, 64), dtype=bool),
}


@pytest.mark.parametrize("name", MASKS)
def test_pycocotools_fills_the_one_polygon_to_the_mask(name):
    mask = MASKS[name]
    polygon = one_polygon(mask).ravel().astype(float).tolist()
    (filled,) = coco_mask.frPyObjects([polygon], *mask.shape)
    np.testing.assert_array_equal(coco_mask.decode(filled), mask)


def test_an_empty_mask_has_no_polygon():
    assert len(one_polygon(np.zeros((4, 5), dtype=bool))) == 0


def test_yolo_labels_are_the_masks_again(results, masks, tmp_path):
    """Read by the rule of Ultralytics: class, then x y in 0..1; filled by pycocotools."""
    export(results, "yolo", tmp_path / "yolo", names={1: "cup", 300: "cup"})
    assert (tmp_path / "yolo" / "data.yaml").read_text().endswith('names:\n  0: "cup"\n  1: "object"\n')
    for index, objects in masks.items():
        lines = (tmp_path / "yolo" / "labels" / f"img_{index}.txt").read_text().splitlines()
        present = [object_id for object_id, mask in objects.items() if mask.any()]
        assert [int(text.split()[0]) for text in lines] == [1 if object_id == 2 else 0 for object_id in present]
        for text, object_id in zip(lines, present, strict=True):
            mask = objects[object_id]
            corners = np.array(text.split()[1:], dtype=float).reshape(-1, 2)
            assert corners.min() >= 0
            assert corners.max() <= 1
            pixels = corners * mask.shape[::-1]
            assert np.abs(pixels - pixels.round()).max() < 1e-3
            (filled,) = coco_mask.frPyObjects([pixels.round().ravel().tolist()], *mask.shape)
            np.testing.assert_array_equal(coco_mask.decode(filled), mask)

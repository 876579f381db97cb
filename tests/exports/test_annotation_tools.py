"""CVAT and Label Studio, by their documented rules."""

from __future__ import annotations

import json
from xml.etree import ElementTree

import numpy as np
import pytest

from masklet.export import export
from tests.exports.conftest import SIZE, disc, line


def cvat_mask(element: ElementTree.Element, size: tuple[int, int]) -> np.ndarray:
    """As docs.cvat.ai describes it: counts of pixels row by row within the box, background and foreground in turn, background first."""
    left, top, width, height = (int(element.get(side)) for side in ("left", "top", "width", "height"))
    flat: list[bool] = []
    for place, count in enumerate(element.get("rle").split(", ")):
        flat += [place % 2 == 1] * int(count)
    mask = np.zeros(size, dtype=bool)
    mask[top : top + height, left : left + width] = np.array(flat).reshape(height, width)
    return mask


def test_cvat_masks_are_those_of_the_results(results, masks, tmp_path):
    export(results, "cvat", tmp_path / "out.xml", names={1: 'a "<cup>" & more'})
    root = ElementTree.parse(tmp_path / "out.xml").getroot()
    assert root.findtext("version") == "1.1"
    assert [label.text for label in root.findall("meta/task/labels/label/name")] == ['a "<cup>" & more', "object"]
    images = root.findall("image")
    assert [(image.get("id"), image.get("name"), image.get("width"), image.get("height")) for image in images] == [
        (str(index), f"img_{index}.png", "64", "48") for index in range(4)
    ]
    for index, image in enumerate(images):
        found = {int(element.findtext("attribute[@name='track_id']")): element for element in image.findall("mask")}
        assert set(found) == {object_id for object_id, mask in masks[index].items() if mask.any()}
        for object_id, element in found.items():
            np.testing.assert_array_equal(cvat_mask(element, SIZE), masks[index][object_id])
            assert element.get("label") == ('a "<cup>" & more' if object_id == 1 else "object")
        order = [int(element.get("z_order")) for element in found.values()]
        assert order == sorted(set(order)), "one above the other"


def test_a_cvat_mask_that_fills_its_box_begins_with_no_background(written, tmp_path):
    mask = np.zeros(SIZE, dtype=bool)
    mask[3:5, 7:10] = True
    export(written([line(0, {1: mask})]), "cvat", tmp_path / "out.xml")
    element = ElementTree.parse(tmp_path / "out.xml").getroot().find("image/mask")
    assert {key: element.get(key) for key in ("rle", "left", "top", "width", "height")} == {
        "rle": "0, 6",
        "left": "7",
        "top": "3",
        "width": "3",
        "height": "2",
    }


def shown(sequence: list[dict], frame: int) -> dict | None:
    """The key frame that Label Studio shows at a frame: the newest, itself or where it goes on."""
    key = max((entry for entry in sequence if entry["frame"] <= frame), key=lambda entry: entry["frame"], default=None)
    return key if key and (key["frame"] == frame or key["enabled"]) else None


def test_label_studio_shows_boxes_where_objects_are_and_none_where_they_are_gone(results, masks, tmp_path):
    done = export(results, "label-studio", tmp_path / "out.json", names={1: "cup"}, video="/data/cups.mp4")
    (task,) = json.loads((tmp_path / "out.json").read_text())
    assert task["data"] == {"video": "/data/cups.mp4"}
    regions = {entry["id"]: entry for entry in task["annotations"][0]["result"]}
    assert set(regions) == {"object_1", "object_2", "object_300"}
    for object_id in (1, 2, 300):
        region = regions[f"object_{object_id}"]
        assert (region["type"], region["from_name"], region["to_name"]) == ("videorectangle", "box", "video")
        assert region["value"]["labels"] == ["cup" if object_id == 1 else "object"]
        assert region["value"]["framesCount"] == 4
        for index in range(4):
            mask, key = masks[index][object_id], shown(region["value"]["sequence"], index + 1)
            assert (key is not None) == mask.any()
            if key:
                rows, columns = np.nonzero(mask)
                box = (columns.min(), rows.min(), columns.max() + 1 - columns.min(), rows.max() + 1 - rows.min())
                assert [key[side] for side in ("x", "y", "width", "height")] == pytest.approx(
                    [100 * value / side for value, side in zip(box, (64, 48, 64, 48), strict=True)]
                )
                assert key["time"] == pytest.approx(index / 10)
    assert '<Label value="cup"/>' in done.notes[0]
    assert "framerate='10'" in done.notes[0]


def test_label_studio_is_not_told_the_password_of_a_video(results, tmp_path):
    done = export(results, "label-studio", tmp_path / "out.json", video="https://me:hunter2@camera.lan/cups.mp4")
    text = (tmp_path / "out.json").read_text()
    assert "camera.lan/cups.mp4" in text
    assert "hunter2" not in text + " ".join(done.notes)


def test_label_studio_takes_the_rate_that_is_given(written, tmp_path):
    folder = written([line(index, {1: disc(9, 9, 4)}) for index in range(6)])
    export(folder, "label-studio", tmp_path / "out.json", fps=30)
    (task,) = json.loads((tmp_path / "out.json").read_text())
    value = task["annotations"][0]["result"][0]["value"]
    assert value["duration"] == pytest.approx(6 / 30)
    assert [entry["time"] for entry in value["sequence"]] == pytest.approx([index / 30 for index in range(6)])
